eval 'x=5; echo $x'; while getopts ab: o -a -b val; do echo "$o$OPTARG"; done; cmd='echo dynamic'; $cmd
