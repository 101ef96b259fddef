printf 'one two\nthree\n' > f; wc f; wc -l f; wc -w f; wc -c f; wc -m f; wc -L f; wc -l f f; printf x | wc -l; wc nothing 2>/dev/null; echo $?
