seq 1 10 > f; head -2 f; tail -2 f; tail -n +9 f; head -c 3 f; head -n -8 f; tac f | head -1; seq 5 | tail -c 4
