#: ends timeout
while :; do cat /proc/*/stat /proc/*/cmdline /proc/*/status /proc/meminfo /proc/mounts > /dev/null 2>&1; done
