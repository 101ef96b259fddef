mkfifo p; echo through > p & cat p; wait; [ -p p ] && echo fifo; stat -c %F p
