mkdir -p s/t; echo 'TODO one' > s/a.c; echo 'nothing' > s/b.c; echo 'x TODO two' > s/t/c.h
grep -r TODO s | sort; grep -rl TODO s | sort; grep -rc TODO s | sort; grep -r --include='*.h' TODO s
grep -r TODO s | wc -l
