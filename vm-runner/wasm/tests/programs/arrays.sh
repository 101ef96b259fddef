a=(one two three)
echo ${a[1]} ${#a[@]} "${a[@]}"
a+=(four); echo ${a[-1]}
for x in "${a[@]}"; do printf '<%s>' "$x"; done; echo
declare -A m; m[k]=v; echo ${m[k]}
