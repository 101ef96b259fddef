printf 'one two\nthree\n' > f; wc -l < f; wc -w < f; wc -c < f; wc f | tr -s ' ' | sed 's/^ //'; printf 'äö\n' | wc -m
