printf 'a\na\nb\na\n' > f; uniq f; uniq -c f; uniq -d f; uniq -u f; printf 'A\na\n' | uniq -i; printf '1 x\n2 x\n' | uniq -f1; sort f | uniq | wc -l; printf 'ab\nac\n' | uniq -w1
