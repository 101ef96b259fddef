sh -c 'exit 42'; echo $?
true; echo $?
false; echo $?
nosuch 2>/dev/null; echo $?
cat nofile 2>/dev/null; echo $?
touch plain; ./plain 2>/dev/null; echo $?
