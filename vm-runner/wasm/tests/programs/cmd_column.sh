printf 'a b\nccc d\n' | column -t; printf '1,2\n3,4\n' | column -t -s,
