x=apple
if [ "$x" = apple ]; then echo fruit; elif [ -z "$x" ]; then echo empty; else echo other; fi
case $x in b*) echo b;; a*) echo a;; esac
[[ $x == a* ]] && echo glob
[[ $x =~ ^a(p+)le$ ]] && echo ${BASH_REMATCH[1]}
