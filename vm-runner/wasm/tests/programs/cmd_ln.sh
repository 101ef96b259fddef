echo x > a; ln -s a s; cat s; readlink s; ln -s nowhere b; cat b 2>/dev/null; echo $?; ln -sf a b; cat b; mkdir d; ln -s ../a d/l; cat d/l; ln -s a s 2>/dev/null; echo $?; ln -sr a d/r; readlink d/r
