env A=1 B=2 env | grep '^[AB]=' | sort; env X=5 sh -c 'echo $X'; env false; echo $?; env nothing-like-it 2>/dev/null; echo $?
