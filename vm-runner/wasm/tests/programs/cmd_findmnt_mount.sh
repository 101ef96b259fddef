findmnt / > /dev/null; echo $?; findmnt /nothing-like-it > /dev/null; echo $?; mkdir d; mount -t tmpfs none d 2>/dev/null; test $? -ne 0 && echo refused
