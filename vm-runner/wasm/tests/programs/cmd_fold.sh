echo abcdefghij | fold -w 4; echo 'one two three four' | fold -s -w 9; printf 'äöü\n' | fold -b -w 2 | wc -l
