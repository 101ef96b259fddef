#: ends timeout
yes 'a line of output that nobody asked for'
