for i in 1 2 3; do echo $i; done
i=0; while [ $i -lt 3 ]; do i=$((i+1)); done; echo $i
for ((j=0;j<3;j++)); do printf '%d ' $j; done; echo
until [ $i -eq 0 ]; do i=$((i-1)); done; echo $i
for f in a b c d; do [ $f = b ] && continue; [ $f = d ] && break; echo $f; done
