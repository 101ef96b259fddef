seq 1 50000 | sort -R | sort -n | tail -1
seq 50000 -1 1 | sort -n | head -2
