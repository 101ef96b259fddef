#: ends timeout
yes | sleep 1000
