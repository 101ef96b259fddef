id -u; id -un; whoami; id -g
