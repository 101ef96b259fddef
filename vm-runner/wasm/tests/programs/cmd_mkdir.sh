mkdir a; mkdir a 2>/dev/null; echo $?; mkdir -p a/b/c; ls -R a; mkdir -v v; mkdir x/y 2>/dev/null; echo $?
