cat > s.sh <<'E'
#!/bin/sh
# counts its arguments
echo "$# args: $*"
for a in "$@"; do printf '<%s>' "$a"; done
echo
exit $#
E
chmod +x s.sh; ./s.sh a 'b c' d; echo $?; sh s.sh; echo $?
