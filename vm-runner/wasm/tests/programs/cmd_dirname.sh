dirname /a/b/c; dirname a; dirname /; dirname /a/b/ x/y
