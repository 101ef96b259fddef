touch -d @1500000000 f; stat -c '%X %Y' f; date -u -r f +%F; ls -l --time-style=+%s f | awk '{print $6}'
