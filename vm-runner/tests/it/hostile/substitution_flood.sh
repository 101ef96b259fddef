#: limit memory 134217728
#: ends any
a=$(yes)
