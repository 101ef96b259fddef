echo start | cat | cat | cat | cat | cat | cat | cat | cat | cat | cat
seq 1 1000 | tac | tac | sort -n | tail -1
