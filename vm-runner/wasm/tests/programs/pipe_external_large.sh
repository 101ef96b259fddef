seq 1 30000 | cat | wc -l
