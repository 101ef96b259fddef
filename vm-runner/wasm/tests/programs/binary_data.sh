printf '\000\001\377' > b; wc -c < b; od -An -tx1 b | tr -d ' '; cat b b | cmp - <(cat b; cat b) && echo same
