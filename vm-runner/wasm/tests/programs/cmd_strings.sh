printf 'ab\000hello\001wor\000world!\n' > f; strings f; strings -n 3 f; strings -t d f
