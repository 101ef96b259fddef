cd; [ -d . ] && echo dir; [ 3 -lt 10 ] && echo less; [ abc = abd ] || echo differ; /usr/bin/[ -n x ] && echo full; [ -z "" -a 1 -eq 1 ]; echo $?; [ ! -e nothing ]; echo $?
