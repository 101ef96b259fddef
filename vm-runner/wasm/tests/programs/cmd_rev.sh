printf 'abc\nxyz\n' | rev; echo 'a b c' | rev
