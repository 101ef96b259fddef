#: ends timeout
while :; do :; done
