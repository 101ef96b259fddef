touch f; chown 1000:1000 f; echo $?; chown 0 f 2>/dev/null; echo $?; chown nobodyatall f 2>/dev/null; echo $?
