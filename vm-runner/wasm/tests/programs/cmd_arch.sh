arch | wc -l; test -n "$(arch)" && echo named
