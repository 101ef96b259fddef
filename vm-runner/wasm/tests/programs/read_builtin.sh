printf 'a b c\nd\n' | { read x y; echo "$x|$y"; read z; echo $z; }
echo 1,2,3 | while IFS=, read p q r; do echo $r$q$p; done
