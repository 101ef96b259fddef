#: limit processes 64
#: ends any
cd /home/agent
i=0
while [ $i -lt 20 ]; do
  mkfifo fifo$i
  sh -c "read line < fifo$i" &
  i=$((i+1))
done
wait
