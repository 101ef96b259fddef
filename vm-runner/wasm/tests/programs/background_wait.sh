sleep 0.05 & a=$!
wait $a; echo $?
sh -c 'exit 3' & wait $!; echo $?
