sleep 9 & kill $!; wait $!; echo $?
sleep 9 & kill -9 $!; wait $!; echo $?
