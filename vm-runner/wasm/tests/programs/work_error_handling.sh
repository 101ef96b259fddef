run() { "$@" || { echo "failed: $1 ($?)"; return 1; }; }; run true; echo $?; run false; echo $?; run ls /nothing 2>/dev/null; echo $?; if ! cd /nothing 2>/dev/null; then echo stay; fi
