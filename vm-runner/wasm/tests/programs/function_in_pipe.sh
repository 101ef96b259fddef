f() { seq 1 20000; }
f | wc -l
{ seq 1 10; seq 1 10; } | sort -n | uniq -c | head -2 | tr -s ' '
