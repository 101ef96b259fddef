sh -c 'sleep 9' & p=$!
sleep 0.1; kill -9 $p; wait $p; echo $?
