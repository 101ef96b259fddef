printf '10\n9\n2\n10\n' > f
sort f; sort -n f; sort -rn f | head -1; sort -u f | wc -l; sort f | uniq -d; sort -o f f; cat f; printf 'b 2\na 3\nc 1\n' | sort -k2n; printf 'b,2\na,3\n' | sort -t, -k1
