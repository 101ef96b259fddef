yes | head -1
yes | head -n 3 | wc -l
