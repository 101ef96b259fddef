id -u; id -g; id -nu | wc -l; id nosuchuser 2>/dev/null; echo $?
