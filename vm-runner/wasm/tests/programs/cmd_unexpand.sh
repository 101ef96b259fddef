printf '        a       b\n' | unexpand | od -An -c; printf '        a       b\n' | unexpand -a | od -An -c; printf '    x\n' | unexpand -t 4 | od -An -c
