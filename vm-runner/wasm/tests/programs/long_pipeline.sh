echo start | cat | cat | cat | cat | cat | cat | cat | cat | cat | cat
seq 1 1000 | sort -rn | sort -n | tail -1
