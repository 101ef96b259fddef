touch e; echo x > n; mkdir d
[ -f e ] && echo f; [ -s e ] || echo empty; [ -s n ] && echo s; [ -d d ] && echo d; [ -x d ] && echo x; [ n -nt nothing ] && echo newer; [ 3 -lt 5 -a a != b ] && echo and
