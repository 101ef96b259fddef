id -u; id -un; whoami; id -g; stat -c '%U %u' .
