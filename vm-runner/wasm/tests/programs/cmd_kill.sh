sleep 30 & p=$!; kill $p; wait $p; echo $?; sleep 30 & p=$!; kill -KILL $p; wait $p; echo $?; kill -l 9; kill -0 $$; echo $?; kill 999999 2>/dev/null; echo $?
