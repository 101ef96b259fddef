seq 1 20 > f; tail -3 f; tail -n +18 f; tail -c 4 f; tail -n 1 f f; tail -q -n 1 f f; tail nothing 2>/dev/null; echo $?; seq 5 | tail -2
