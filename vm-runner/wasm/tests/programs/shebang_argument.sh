printf '#!/bin/sed -n 2p\nsecond\nthird\n' > s; printf '#!/usr/bin/awk -f\nBEGIN { print "awk script" }\n' > w; chmod +x w; ./w
