printf 'a 1\nb 2\nc 3\n' > f
awk '{print $2, $1}' f; awk '{s+=$2} END {print s}' f; awk -F: '{print $2}' <<< x:y; awk '$2 > 1 {print NR": "$0}' f; awk 'BEGIN {printf "%.2f\n", 10/3}'; awk -v n=5 'BEGIN {print n*2}'; awk '{a[$1]=$2} END {for (k in a) print k, a[k]}' f | sort; awk 'length($0) > 3' <<< abcd; awk '{gsub(/a/, "X"); print toupper($0)}' <<< banana; awk 'NR==2{exit} {print}' f
