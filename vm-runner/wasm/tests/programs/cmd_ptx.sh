printf 'alpha beta\ngamma\n' | ptx | wc -l; printf 'one two\n' | ptx -f | grep -c one
