#: ends any
head -c 400000000 /dev/zero | gzip | gzip -d | gzip | gzip -d > /dev/null
