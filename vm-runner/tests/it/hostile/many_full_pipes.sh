#: limit memory 134217728
#: limit processes 200
#: ends timeout
i=0
while [ $i -lt 60 ]; do
  yes | sleep 1000 &
  i=$((i+1))
done
wait
