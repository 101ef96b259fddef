test -n "$(hostname)" && echo named; test "$(hostname)" = "$(uname -n)" && echo same
