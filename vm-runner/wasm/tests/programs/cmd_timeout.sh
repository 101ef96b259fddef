timeout 5 echo quick; timeout 0.05 sleep 5; echo $?; timeout 5 false; echo $?; timeout 5 nothing-like-it 2>/dev/null; echo $?
