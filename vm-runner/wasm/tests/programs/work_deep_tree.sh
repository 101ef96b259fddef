p=.; for i in $(seq 1 40); do p=$p/d$i; done; mkdir -p $p; echo deep > $p/f; cat $p/f; find . -type d | wc -l; rm -r d1; ls | wc -l
