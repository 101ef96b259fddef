#: ends any
#: says symbolic link
cd /home/agent
ln -s a b; ln -s b a
cat a
i=0; ln -s /etc/passwd link0
while [ $i -lt 100 ]; do ln -s link$i link$((i+1)); i=$((i+1)); done
cat link100
ln -s . here
ls -R -L here | head -c 100000 > /dev/null
