expr 1 + 2; expr 7 '*' 6; expr 7 / 2; expr 7 % 2; expr 1 = 2; echo $?; expr a '<' b; expr 1 / 0 2>/dev/null; echo $?
