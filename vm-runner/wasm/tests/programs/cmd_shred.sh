echo secret > f; shred -n 1 f; cmp -s f <(echo secret) && echo same || echo changed; shred -u f; test -e f || echo gone
