sh -c 'kill -TERM $$'; echo $?
sh -c 'kill -9 $$'; echo $?
