#: limit inodes 2000
#: ends any
#: says No space left
mkdir -p /home/agent/files
cd /home/agent/files
i=0
while [ $i -lt 40 ]; do
  seq -f "$i-%.0f" 1 100 | xargs touch || exit 1
  i=$((i+1))
done
