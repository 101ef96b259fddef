date -u -d @0 '+%Y-%m-%dT%H:%M:%S'; date -u -d '2024-02-29 +1 day' +%F; TZ=UTC date -d @86400 +%j; a=$(date +%s); sleep 1.1; b=$(date +%s); [ $b -gt $a ] && echo advances
