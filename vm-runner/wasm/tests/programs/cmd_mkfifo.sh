mkfifo p; ls -l p | cut -c1; (echo through > p) & read x < p; echo $x; wait; mkfifo p 2>/dev/null; echo $?
