echo x > a; ln -s a l; ln -s l m; readlink m; readlink -f m | sed 's#.*/##'; readlink a; echo $?; readlink -e nothing; echo $?; readlink -m x/../y | sed 's#.*/##'
