#: limit processes 64
#: ends any
i=0
while [ $i -lt 200 ]; do
  sleep 1000 &
  i=$((i+1))
done
wait
