seq 1 40 | base64; seq 1 40 | base64 -w 20 | head -2; seq 1 40 | base64 | base64 -d | tail -1; echo '!!' | base64 -d 2>/dev/null; echo $?
