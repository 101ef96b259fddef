echo '{"a":1,"b":[1,2,{"c":"x"}]}' > j
jq -c . j; jq .a j; jq -r '.b[2].c' j; jq '.b | length' j; jq -c 'keys' j; jq -c '[.b[] | numbers | . * 2]' j; echo '[3,1,2]' | jq -c sort; echo '{"n":null}' | jq '.n // "default"'; echo '[{"k":1},{"k":2}]' | jq -c 'map(select(.k>1))'; jq -n '1+1'; echo bad | jq . 2>/dev/null; test $? -ne 0 && echo failed
