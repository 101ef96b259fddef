mkdir 'ä ö'; echo 1 > 'ä ö/ß€.txt'; ls 'ä ö'; cat ä*/*; for f in */*; do echo "$f"; done; mv 'ä ö/ß€.txt' 'new name'; cat 'new name'; find . -name 'new*'
