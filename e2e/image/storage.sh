# shellcheck shell=sh
# Read by base and build: where images are kept while they are made, and buildah
# set up to keep them there and nowhere else.
#
# The folder lies outside of the repository, so that a fresh clone finds the
# base image of before.

cache=${XDG_CACHE_HOME:-$HOME/.cache}/lodge/image
mkdir -p "$cache"

fail() {
    echo "$(basename "$0"): $*" >&2
    exit 1
}

command -v buildah >/dev/null ||
    fail "no buildah; install it with e2e/cluster/install-packages, or use a cluster and a registry that you have: LODGE_CONTEXT=<name> make up"
[ "$(id -u)" = 0 ] || fail "building images needs root"

# Only one at a time works on the store. The lock goes with this process.
exec 9>"$cache/lock"
flock 9

# Overlays are quick, but the kernel puts none onto another one.
case $(stat -f -c %T "$cache") in
    overlayfs) driver=vfs ;;
    *) driver=overlay ;;
esac

# The policy says that images may be used; nothing is ever pulled.
[ -e "$cache/policy.json" ] || echo '{"default": [{"type": "insecureAcceptAnything"}]}' >"$cache/policy.json"

# No network is ever set up, but buildah would lock the machine's folder for it.
[ -e "$cache/containers.conf" ] || printf '[network]\nnetwork_config_dir = "%s"\n' "$cache/network" >"$cache/containers.conf"

store() {
    verb=$1
    shift
    CONTAINERS_CONF="$cache/containers.conf" \
        buildah --root "$cache/store" --runroot "$cache/run" --storage-driver "$driver" "$verb" "$@" 9>&-
}

# buildah remembers where layers came from in a folder that cannot be chosen. It is
# of no use without a registry, and goes unless it is somebody else's.
blobs=/var/lib/containers/cache
[ -e "$blobs" ] || forget_blobs=yes
tidy() {
    [ -z "${forget_blobs:-}" ] || rm -f "$blobs/blob-info-cache-v1.boltdb"
    rmdir "$blobs" "$(dirname "$blobs")" 2>/dev/null || true
}
trap tidy EXIT
trap 'exit 130' INT TERM

# Prints the identifier of a local image, or nothing.
image_id() {
    store images --quiet --no-trunc "$1" 2>/dev/null || true
}

# Prints one checksum over the names, modes and contents of all files in a folder.
checksum() {
    (
        cd "$1" || exit 1
        find . -mindepth 1 \( -type d -o -type f \) -printf '%y %m %P\n' | LC_ALL=C sort
        find . -type l -printf 'l %P %l\n' | LC_ALL=C sort
        find . -type f -print0 | LC_ALL=C sort -z | xargs -0 -r sha256sum
    ) | sha256sum | cut -c1-64
}
