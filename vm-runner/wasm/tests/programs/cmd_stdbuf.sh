stdbuf -o L echo buffered; stdbuf -i 0 -o 0 cat <<< raw
