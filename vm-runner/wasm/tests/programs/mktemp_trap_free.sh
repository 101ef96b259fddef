t=$(mktemp); [ -f $t ] && echo made; rm $t; d=$(mktemp -d); [ -d $d ] && echo dir; rmdir $d
