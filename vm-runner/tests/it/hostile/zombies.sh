#: limit processes 64
#: ends any
i=0
while [ $i -lt 1000 ]; do
  /bin/true &
  i=$((i+1))
done
sleep 1000
