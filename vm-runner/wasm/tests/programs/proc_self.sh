readlink /proc/self/fd/0 > /dev/null; ls /proc/self/fd | head -2; cat /proc/self/comm 2>/dev/null | head -c 3; echo; test -r /proc/mounts && echo mounts
