exec sh -c 'echo replaced; exit 4'
echo never
