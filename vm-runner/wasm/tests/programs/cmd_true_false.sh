true; echo $?; false; echo $?; /usr/bin/true --help > /dev/null; echo $?; /usr/bin/false; echo $?
