printf abcdef > a; printf abXdef > b; cmp a a; echo $?; cmp a b; echo $?; cmp -s a b; echo $?; cmp a nothing 2>/dev/null; echo $?
