seq 1 1000 | grep 7 | sed 's/7/x/g' | sort -u | awk 'length($0) < 3' | tr '\n' ' '; echo; seq 1 50000 | sort -rn | head -1; seq 1 1000 | split -l 100 - part_; ls part_* | wc -l; cat part_* | cksum
