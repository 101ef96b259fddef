mknod p p; ls -l p | cut -c1; mknod c c 1 3 2>/dev/null; echo $?
