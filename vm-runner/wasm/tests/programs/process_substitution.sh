diff <(echo a) <(echo a) && echo same
diff <(printf 'a\nb\n') <(printf 'a\nc\n'); echo $?
cat <(echo first) <(echo second)
