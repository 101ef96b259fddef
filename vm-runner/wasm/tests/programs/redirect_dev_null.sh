ls > /dev/null
echo $?
echo gone > /dev/null 2>&1
cat /dev/null | wc -c
