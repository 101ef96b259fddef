printf 'a\n\n\nb\tc\n' > f
cat -n f; cat -s f; cat -A f; cat f - < /dev/null | wc -l
