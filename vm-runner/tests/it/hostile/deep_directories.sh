#: ends any
mkdir -p /home/agent/deep; cd /home/agent/deep
i=0
while [ $i -lt 400 ]; do
  mkdir d && cd d || break
  i=$((i+1))
done
cd /home/agent
find deep | tail -n 1 | wc -c
rm -rf deep
