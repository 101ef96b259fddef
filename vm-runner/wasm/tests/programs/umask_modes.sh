cd /tmp && mkdir m && cd m
umask 077; touch g; stat -c %a g
umask 022; touch h; stat -c %a h
mkdir e; stat -c %a e
