#: ends timeout
yes 'a line of errors that nobody asked for' >&2
