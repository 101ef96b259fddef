printf 'a:b:c\nd:e:f\n' > f; cut -d: -f2 f; cut -d: -f1,3 f; cut -d: -f2- f; cut -c1-3 f; cut -b2 f; cut -d: --complement -f2 f; cut -d: -f1,3 --output-delimiter=- f; echo nodelim | cut -d: -f2 -s
