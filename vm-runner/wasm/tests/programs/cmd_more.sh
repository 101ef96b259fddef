seq 1 5 > f; more f | tail -5; more < f | tail -1
