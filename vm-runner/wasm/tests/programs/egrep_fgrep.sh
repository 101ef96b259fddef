echo 'a+b' | egrep -q 'a\+b' 2>/dev/null; echo $?
echo 'a.b' | fgrep -c 'a.b' 2>/dev/null
