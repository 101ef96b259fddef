echo hello | tr l L; echo aabbcc | tr -s a-c; echo a1b2 | tr -d 0-9; echo 'a b' | tr ' ' '\n'; echo xyz | tr -c 'x\n' '-'; echo hello | tr '[:lower:]' '[:upper:]'
