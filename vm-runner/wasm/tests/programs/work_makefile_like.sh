printf 'a.o: a.c\nb.o: b.c\nprog: a.o b.o\n' > deps; tr -d ':' < deps | awk '{for (i = 2; i <= NF; i++) print $i, $1}' | tsort | tail -1; awk -F: '{print $1}' deps | sort
