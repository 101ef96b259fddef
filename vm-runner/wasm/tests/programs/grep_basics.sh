printf 'apple\nbanana\ncherry\nApricot\n' > f
grep an f; grep -i '^a' f; grep -c a f; grep -v an f; grep -n ch f; grep -E 'an|ch' f; grep -o 'an*' f; grep -q zzz f; echo $?; grep -F 'a.' f; echo $?; grep -w apple f
