echo via-fd > f
cat /dev/fd/3 3< f
cat /dev/stdin < f
echo to-stdout > /dev/stdout
echo piped | cat /dev/fd/0
