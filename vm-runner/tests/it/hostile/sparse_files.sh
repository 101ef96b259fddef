#: limit storage 16777216
#: ends any
truncate -s 9000000000000000000 /home/agent/sparse
truncate -s 1000000000000 /home/agent/sparse
cat /home/agent/sparse > /home/agent/copy
