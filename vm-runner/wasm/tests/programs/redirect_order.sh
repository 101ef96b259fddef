sh -c 'echo out; echo err >&2' > f 2>&1; cat f
sh -c 'echo out; echo err >&2' 2> e > f; cat e f
x=$(sh -c 'echo out; echo err >&2' 2>&1); echo "[$x]"
{ echo grouped >&2; } 2>&1 | cat
sh -c 'echo piped >&2' 2>&1 | cat
ls /nonexistent 2>/dev/null >&2; echo $?
f() { echo infunc >&2; }; y=$(f 2>&1); echo "$y"
