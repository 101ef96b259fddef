seq 3; seq 2 4; seq 1 2 7; seq 3 -1 1; seq -s, 4; seq -w 8 11; seq -f '%03g' 2; seq 0.5 0.5 2; seq 5 1; seq 1e3 1e3
