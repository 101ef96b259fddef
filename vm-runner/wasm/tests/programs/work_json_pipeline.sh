cat > d.json <<'E'
{"users":[{"n":"ada","age":36,"tags":["a","b"]},{"n":"bob","age":25,"tags":[]}]}
E
jq -r '.users[] | "\(.n) \(.age)"' d.json; jq '[.users[].age] | add / length' d.json; jq -c '.users | map(select(.age > 30)) | .[].n' d.json; jq -c '.users |= sort_by(.age)' d.json | jq -r '.users[0].n'; jq -r '.users[] | [.n, (.tags | join("+"))] | @csv' d.json
