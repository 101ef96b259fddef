#: ends any
#: says too long
a=0123456789abcdef
while [ ${#a} -lt 8388608 ]; do a=$a$a; done
/bin/true "$a"
echo "status $?"
