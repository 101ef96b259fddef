seq 10 | shuf | sort -n | paste -sd' '; shuf -i 1-5 | wc -l; shuf -n 2 -i 1-9 | wc -l; shuf -e a b c | sort | paste -sd' '; shuf -i 7-7
