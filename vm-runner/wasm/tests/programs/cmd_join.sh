printf '1 a\n2 b\n3 c\n' > x; printf '1 X\n3 Z\n4 W\n' > y; join x y; join -a 1 x y; join -v 2 x y; join -o 1.2,2.2 x y; printf 'k:v\n' > p; printf 'k:w\n' > q; join -t: p q
