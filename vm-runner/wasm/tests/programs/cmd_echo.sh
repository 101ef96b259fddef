echo a  b; echo -n x; echo; echo -e 'a\tb\n\x41'; echo -E 'a\tb'; /usr/bin/echo hi; echo
