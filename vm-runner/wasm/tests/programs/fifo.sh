mkfifo p; echo through > p & read x < p; echo "$x"; wait; ls -l p | cut -c1
