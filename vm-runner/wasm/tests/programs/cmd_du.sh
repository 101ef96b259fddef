mkdir -p d/e; head -c 5000 /dev/zero > d/f; head -c 3000 /dev/zero > d/e/g; du -a d | wc -l; du -s d | cut -f2; du -d 1 d | wc -l
