mkdir -p p/q; echo needle > p/a.txt; echo hay > p/q/b.txt
rg -l needle p; rg --no-heading -n needle p; rg -c needle p; rg zzz p; echo $?
