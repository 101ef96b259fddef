timeout 0.2 sleep 9; echo $?; timeout 5 true; echo $?; timeout 5 sh -c 'exit 3'; echo $?
