set -- a 'b c' d
echo $# "$2"; shift; echo $1; echo "$@" | wc -w
sh -c 'echo $0 $1' name arg
