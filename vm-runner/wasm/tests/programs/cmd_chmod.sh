touch f; for m in 600 u+x go=r a-w +x 4755 1777 u=rwx,g=rx,o=; do chmod $m f; stat -c %a f; done; mkdir -p d/e; chmod -R 700 d; stat -c %a d d/e; chmod 999 f 2>/dev/null; echo $?
