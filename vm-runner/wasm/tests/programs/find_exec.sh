mkdir -p t/d; echo abc > t/x; echo de > t/d/x
find t -name x -exec cat {} \; | sort; find t -name x -exec cat {} + | wc -c
find t -name x -execdir basename {} \;
find t/d -type f -execdir pwd \; | sed 's#.*/##'
find t -name x -delete; find t -type f | wc -l; find t -empty -type d
