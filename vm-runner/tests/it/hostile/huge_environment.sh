#: ends any
a=0123456789abcdef
while [ ${#a} -lt 8388608 ]; do a=$a$a; done
export a
/bin/true
