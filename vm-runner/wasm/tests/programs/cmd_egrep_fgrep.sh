printf 'a.b\naxb\n' > f; egrep 'a(\.|x)b' f 2>/dev/null; fgrep a.b f 2>/dev/null; fgrep -c x f 2>/dev/null
