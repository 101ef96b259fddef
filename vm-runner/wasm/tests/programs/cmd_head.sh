seq 1 20 > f; head -3 f; head -n -17 f; head -c 5 f; echo; head -n 1 f f; head -q -n 1 f f; head nothing 2>/dev/null; echo $?; seq 1 100000 | head -1
