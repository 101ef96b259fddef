mkdir d; echo same > d/a; echo same > d/b; echo other > d/c; find d -type f -exec md5sum {} + | sort | awk '{n[$1]++; f[$1] = f[$1] " " $2} END {for (h in n) if (n[h] > 1) print n[h] f[h]}'
