ssh -o BatchMode=yes -o ConnectTimeout=2 -p 1 a@127.0.0.1 true 2>/dev/null; echo $?; ssh -V 2>&1 | cut -c1-7
