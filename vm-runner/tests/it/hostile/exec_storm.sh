#: ends timeout
while :; do /bin/true; done
