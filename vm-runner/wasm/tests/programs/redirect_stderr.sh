ls /nonexistent 2> err; echo $?
test -s err && echo has-error
ls /nonexistent > both 2>&1
test -s both && echo both
