printf 'lodge\n' > f; cksum f; cksum -a sha256 f; cksum < f
