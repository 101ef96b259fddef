echo dup | tee a b; cat a b; seq 1 10 | split -l 4 - part; ls part*; cat partac; seq 1 3 | tee /dev/null | wc -l
