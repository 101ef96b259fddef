mkdir -p p/q; for i in 1 2 3; do echo "data $i" > p/q/f$i; done; tar czf b.tgz p; sha256sum p/q/* > sums; rm -r p; tar xzf b.tgz; sha256sum -c sums; find p -type f | sort; tar tzf b.tgz | wc -l
