sh -c 'echo $0 $1' a b; bash -c 'echo ${1^^}' x y; sh -c 'exit 7'; echo $?; printf 'echo from-stdin\n' | sh; sh -s x < <(echo 'echo $1')
