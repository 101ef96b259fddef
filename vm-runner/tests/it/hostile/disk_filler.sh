#: limit storage 16777216
#: ends any
#: says No space left
head -c 67108864 /dev/zero > /home/agent/filler
ls -l /home/agent/filler
