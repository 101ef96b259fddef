yes | head -3; yes a b | head -2; yes | head -c 100000 | wc -c
