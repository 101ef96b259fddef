date -u -d @0 +%Y-%m-%dT%H:%M:%SZ; date -u -d @1700000000 '+%a %b %e %j %U'; date -u -d '2024-02-28 12:00:00' +%F; date -u -d @0 -R; date -u -d @86400 -I
