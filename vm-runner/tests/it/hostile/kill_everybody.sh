#: ends any
kill -KILL -1
kill -KILL 0
