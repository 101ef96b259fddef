test "$(nproc)" -ge 1 && echo some; nproc --all | wc -l; nproc --ignore=1000
