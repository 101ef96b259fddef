printf '1\n2\n3\n' > a; printf '2\n3\n4\n' > b; comm a b; comm -12 a b; comm -3 a b; comm -23 a b
