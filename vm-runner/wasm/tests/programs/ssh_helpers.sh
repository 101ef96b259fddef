ssh-keysign < /dev/null 2>/dev/null; test $? -ne 0 && echo refused; ssh-sk-helper < /dev/null 2>/dev/null; test $? -ne 0 && echo refused
