mkdir -p d/e; touch d/a d/e/b; tree d; tree -L 1 d | tail -1; tree -a -i --noreport d; tree -d d | tail -1
