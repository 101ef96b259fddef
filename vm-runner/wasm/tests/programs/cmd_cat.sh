printf 'a\n\n\nb\t c\n' > f; cat f; cat -n f; cat -b f; cat -s f; cat -A f; cat f - < f | wc -l; cat nothing; echo $?
