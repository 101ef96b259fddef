# Steps with a name, a log and a time: sourced by the scripts beside it.
#
# `step NAME COMMAND…` runs the command with its output in .local/logs/NAME.log, shows the newest line of that log
# while it runs, prints how long it took, and on failure says which step, why, and where the log is.

set -a # steps run in a shell of their own, which sees these
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
local_dir=$root/.local
logs=$local_dir/logs
bin=$local_dir/bin
times=$logs/times.tsv
cache=${XDG_CACHE_HOME:-$HOME/.cache}/lodge
state=$local_dir/cluster
# Sockets below the state have paths of at most 108 bytes: in a deep clone the state lives elsewhere, and is linked.
[ ${#state} -le 70 ] || state=/var/lib/lodge-clusters/$(printf %s "$root" | sha256sum | cut -c 1-12)
PATH="$bin:$PATH"
set +a
mkdir -p "$logs" "$bin" "$cache"
[ "$state" = "$local_dir/cluster" ] || ln -sfn "$state" "$local_dir/cluster"

say() { printf '%s\n' "$*"; }
fail() { printf 'lodge: %s\n' "$*" >&2; exit 1; }
now_ms() { date +%s%3N; }

# Seconds with one decimal of a number of milliseconds.
seconds() { printf '%d.%d s' $(($1 / 1000)) $(($1 % 1000 / 100)); }

# The newest line of a log, cut to the width of a terminal.
newest_line() { tail -c 2000 "$1" 2>/dev/null | tr '\r' '\n' | grep -v '^[[:space:]]*$' | tail -n 1 | cut -c 1-90; }

# Shows what a running step does: on a terminal in place, elsewhere a line every 20 seconds.
watch_step() {
  local pid=$1 name=$2 log=$3 start=$4 last=0 elapsed
  while kill -0 "$pid" 2>/dev/null; do
    sleep 0.2
    elapsed=$((($(now_ms) - start) / 1000))
    if [ -t 1 ]; then
      [ "$elapsed" -ge 1 ] && printf '\r\033[K  … %-22s %4d s  %s' "$name" "$elapsed" "$(newest_line "$log")"
    elif [ $((elapsed - last)) -ge 20 ]; then
      last=$elapsed
      printf '  … %-22s %4d s  %s\n' "$name" "$elapsed" "$(newest_line "$log")"
    fi
  done
  [ -t 1 ] && printf '\r\033[K'
  return 0
}

step() {
  local name=$1 log start status=0 took pid
  shift
  log=$logs/$(printf '%s' "$name" | tr -c 'a-zA-Z0-9\n' '-').log
  start=$(now_ms)
  # A shell of its own, because a function called in a condition would not stop at its first failure; a process group
  # of its own, so that an interrupt ends the step with all that it started.
  set -m
  bash -euo pipefail -c "$(declare -f)"$'\n"$@"' step "$@" >"$log" 2>&1 </dev/null &
  pid=$!
  set +m
  trap 'kill -TERM -- -"$pid" 2>/dev/null; trap - INT TERM; exit 130' INT TERM
  watch_step "$pid" "$name" "$log" "$start"
  wait "$pid" || status=$?
  trap - INT TERM
  took=$(($(now_ms) - start))
  printf '%s\t%s\t%s\n' "$name" "$took" "$status" >>"$times"
  if [ "$status" -eq 0 ]; then
    printf '  ✓ %-24s %10s\n' "$name" "$(seconds "$took")"
    return 0
  fi
  printf '  ✗ %-24s %10s\n' "$name" "$(seconds "$took")"
  tail -n "${STEP_TAIL:-25}" "$log" | sed 's/^/    /'
  say "lodge: the step '$name' failed (exit $status); its whole log: $log" >&2
  return "$status"
}

# The table of the steps so far, longest first.
step_table() {
  say ''
  say 'step                              time'
  sort -t "$(printf '\t')" -k2,2nr "$times" | while IFS="$(printf '\t')" read -r name took status; do
    printf '%-28s %10s%s\n' "$name" "$(seconds "$took")" "$([ "$status" = 0 ] || printf '  FAILED')"
  done
}
