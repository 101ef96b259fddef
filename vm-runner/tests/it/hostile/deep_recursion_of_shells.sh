#: limit processes 48
#: ends exit
echo 'sh /home/agent/deeper' > /home/agent/deeper
sh /home/agent/deeper
exit 0
