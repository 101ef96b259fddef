mkdir d; echo one > d/a; echo two > d/b
tar cf t.tar d; tar tf t.tar | sort; tar czf t.gz d && tar tzf t.gz | sort
mkdir x; tar xzf t.gz -C x; cat x/d/a x/d/b; echo hello > g; gzip g; ls g*; gunzip g.gz; cat g; echo z | gzip | zcat; gzip -c g | gzip -d
