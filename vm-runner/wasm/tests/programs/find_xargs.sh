mkdir t; touch 't/a b' t/c; find t -type f -print0 | sort -z | xargs -0 -n1 echo; find t -type f -print0 | xargs -0 rm; ls t | wc -l
