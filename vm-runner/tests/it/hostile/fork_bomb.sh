#: limit processes 48
#: ends any
echo 'sh /home/agent/bomb & sh /home/agent/bomb & wait' > /home/agent/bomb
sh /home/agent/bomb
