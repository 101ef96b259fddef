mkdir -p d/e; touch d/a.txt d/e/b.txt d/c.md; cd d; fd -e txt | sort; fd b; fd -t d | tr -d /; fd a -e txt; fd '^c'; fd -H -g '*.md'
