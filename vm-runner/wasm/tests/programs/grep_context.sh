seq 1 10 | grep -A1 -B1 5; seq 1 3 | grep -c ''; echo abc | grep -qx abc; echo $?
