#: limit memory 67108864
#: ends any
for i in 1 2 3 4 5 6 7 8 9 10 11 12; do
  yes 0123456789012345678901234567890123456789 | sort > /dev/null &
done
wait
