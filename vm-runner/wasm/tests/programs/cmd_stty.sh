stty size < /dev/null 2>/dev/null; test $? -ne 0 && echo no terminal
