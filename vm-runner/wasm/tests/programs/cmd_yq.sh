printf 'a: 1\nb:\n  - x\n  - y\n' > f.yaml; yq .a f.yaml; yq '.b[1]' f.yaml | tr -d '"'; yq '.b | length' f.yaml
