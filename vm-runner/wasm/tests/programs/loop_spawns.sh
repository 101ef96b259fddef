i=0; while [ $i -lt 50 ]; do /bin/true; i=$((i+1)); done; echo $i; for n in 1 2 3; do echo $n; done | while read l; do echo got $l; done
