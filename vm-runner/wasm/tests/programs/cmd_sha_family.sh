printf 'lodge' > f; for t in sha1sum sha224sum sha256sum sha384sum sha512sum; do $t f; $t f > s; $t --status -c s; echo $?; done
