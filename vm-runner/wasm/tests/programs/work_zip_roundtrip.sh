mkdir -p a/b; seq 100 > a/n; echo x > a/b/c; zip -qr z.zip a; mkdir o; cd o; unzip -q ../z.zip; diff -r a ../a; echo $?; cmp a/n ../a/n; echo $?
