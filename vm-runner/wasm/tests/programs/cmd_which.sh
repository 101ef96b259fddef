which sh | wc -l; which nothing-like-it; echo $?; which ls cat | wc -l
