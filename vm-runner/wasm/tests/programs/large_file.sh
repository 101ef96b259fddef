seq 1 200000 > f; wc -c < f; md5sum < f; sort -rn f | head -1; tail -1 f; grep -c 7 f; awk '{s+=$1} END {print s}' f
