#: limit memory 67108864
#: ends any
a=0123456789abcdef
while :; do a=$a$a; done
