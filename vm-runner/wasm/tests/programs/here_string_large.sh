x=$(seq 1 20000); wc -c <<< "$x"
echo "$x" | wc -c
