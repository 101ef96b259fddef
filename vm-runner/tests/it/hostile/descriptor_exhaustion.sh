#: limit openFiles 64
#: ends any
i=3
while [ $i -lt 500 ]; do
  eval "exec $i</dev/null" || exit 1
  i=$((i+1))
done
