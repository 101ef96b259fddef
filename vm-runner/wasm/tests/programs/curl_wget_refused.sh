wget -q -T 1 -t 1 http://127.0.0.1:1/ 2>/dev/null; echo $?; wget --version | head -1 | cut -d' ' -f1-2
