seq -s, 1 5; seq 2 2 8 | tr '\n' ' '; echo; expr 3 + 4; expr 10 / 3; factor 12; echo '2^10' | cat; numfmt --to=iec 2048; shuf -i 1-1; seq -w 8 10
