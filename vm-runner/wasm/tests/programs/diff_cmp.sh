printf '1\n2\n3\n' > a; printf '1\nX\n3\n' > b
diff a b; echo $?; diff a a; echo $?; cmp a b > /dev/null; echo $?; diff -u a b | tail -n +3; diff -q a b
