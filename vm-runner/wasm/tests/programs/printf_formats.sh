printf '%5d|%-5s|%05.1f|%x\n' 42 ab 3.14159 255
printf '%s-' 1 2 3; echo
printf '%b' 'a\tb\n'
