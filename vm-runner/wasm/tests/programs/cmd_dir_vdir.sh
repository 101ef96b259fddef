mkdir d; cd d; touch a b; dir | wc -w; vdir > /dev/null; echo $?; dir -a | grep -c a
