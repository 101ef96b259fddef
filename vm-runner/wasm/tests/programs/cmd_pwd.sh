mkdir -p a/b; cd a/b; pwd | sed 's#.*/a/#a/#'; ln -s a/b ../../l; cd ../../l; pwd | sed 's#.*/##'; pwd -P | sed 's#.*/a/#a/#'
