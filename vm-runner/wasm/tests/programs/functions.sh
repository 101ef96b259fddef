greet() { local who=$1; echo "hello $who"; return 5; }
greet you; echo $?
add() { echo $(($1 + $2)); }
add 2 3
