for d in 2024-02-28 2024-02-29 2024-12-31; do date -u -d "$d + 1 day" +%F; done; echo $(( ($(date -u -d 2024-03-01 +%s) - $(date -u -d 2024-02-01 +%s)) / 86400 ))
