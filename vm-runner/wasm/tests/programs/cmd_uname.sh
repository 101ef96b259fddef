uname -s; uname | wc -l; test -n "$(uname -r)" && echo release; uname -n | wc -l; test -n "$(uname -m)" && echo machine; uname -o
