logname > /dev/null 2>&1; test $? -le 1 && echo ran
