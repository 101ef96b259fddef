pathchk a/b; echo $?; pathchk -p 'a b' 2>/dev/null; echo $?; pathchk "$(printf 'x%.0s' $(seq 300))" 2>/dev/null; echo $?
