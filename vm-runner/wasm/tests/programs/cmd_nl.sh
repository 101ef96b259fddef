printf 'a\n\nb\n' | nl; printf 'a\n\nb\n' | nl -ba -w2 -s:; printf 'x\ny\n' | nl -v10 -i5 -nrz -w4
