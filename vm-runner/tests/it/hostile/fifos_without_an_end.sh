#: limit processes 64
#: ends timeout
cd /home/agent
i=0
while [ $i -lt 20 ]; do
  mkfifo fifo$i
  cat fifo$i > /dev/null &
  i=$((i+1))
done
wait
