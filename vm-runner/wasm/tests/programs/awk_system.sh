awk 'BEGIN { "echo from-cmd" | getline x; print x; print "piped" | "cat"; close("cat"); r = system("exit 3"); print r }'
