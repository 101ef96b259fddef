printf '1\n2\n3\n' > f; tac f; tac f f | wc -l; tac -s : <(printf 'a:b:c:') 2>/dev/null | wc -c
