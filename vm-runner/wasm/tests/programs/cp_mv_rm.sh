echo 1 > a; cp a b; cat b; mv b c; ls; mkdir d; cp -r d e; mv c d/; cp -r d f; cat f/c; rm -r d e f; ls
rm nothing 2>/dev/null; echo $?; rm -f nothing; echo $?
