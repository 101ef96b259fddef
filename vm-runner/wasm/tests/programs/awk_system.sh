awk 'BEGIN { "echo from-cmd" | getline x; print x; r = system("exit 3"); print r; print "piped" | "cat" }'
