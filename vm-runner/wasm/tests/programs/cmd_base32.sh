printf 'hello lodge' | base32; printf 'hello lodge' | base32 | base32 -d; echo; base32 -w 4 <<< abcdef
