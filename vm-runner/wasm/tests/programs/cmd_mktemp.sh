f=$(mktemp); test -f $f && echo file; d=$(mktemp -d); test -d $d && echo folder; g=$(mktemp ./x.XXXXXX); echo ${#g}; mktemp -u /nodir/XXX | cut -c1-7; mktemp /nodir/XXXX 2>/dev/null; echo $?
