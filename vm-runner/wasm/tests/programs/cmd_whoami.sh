test "$(whoami)" = "$(id -un)" && echo same
