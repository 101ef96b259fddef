dircolors -b | head -1 | cut -c1-9; dircolors -p | grep -c TERM | grep -qv '^0$' && echo terms; dircolors -c | tail -1 | cut -c1-6
