hostid | tr -d '0-9a-f' | wc -c; hostid | head -c 8 | wc -c
