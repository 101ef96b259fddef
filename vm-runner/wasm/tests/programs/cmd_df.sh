df . | wc -l; df -P / | head -1 | grep -c Filesystem; df -i . > /dev/null; echo $?; df -P / | tail -1 | grep -o '/$'
