# What compare.sh and larger_than_memory.sh share; both source it. Not to be run.
#
#   CAIRN                  the binary; default: built here with `cargo build --release`
#   SERVER_CPU, LOAD_CPU   cores (0 and 1)
#   PORT                   the first port (7970)
# shellcheck shell=bash
set -euo pipefail
export LC_ALL=C

here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
CAIRN=${CAIRN:-}
SERVER_CPU=${SERVER_CPU:-0}
LOAD_CPU=${LOAD_CPU:-1}
PORT=${PORT:-7970}

say() { printf '%s\n' "$*" >&2; }
die() { say "${0##*/}: $*"; exit 1; }

build_cairn() {
  if [ -n "$CAIRN" ]; then return; fi
  say "building cairn"
  cargo build --release --quiet --manifest-path "$here/Cargo.toml" >&2
  CAIRN=$here/target/release/cairn
}

# Dies if a directory is in memory; the second argument says what is wrong with that.
need_disk() {
  case $(stat -f -c %T "$1") in tmpfs|ramfs) die "$1 is in memory: $2. Set DIR" ;; esac
}

# Sends a command to the server at port $1, and prints all that it says until it closes the connection.
ask_all() {
  exec 9<>"/dev/tcp/127.0.0.1/$1"
  printf '%s\r\nQUIT\r\n' "$2" >&9
  tr -d '\r' <&9
  exec 9>&-
}

# The first line of the reply to a command; $3 seconds are waited for it (600).
ask() {
  local reply=
  exec 9<>"/dev/tcp/127.0.0.1/$1" || return 1
  printf '%s\r\n' "$2" >&9
  read -r -t "${3:-600}" reply <&9 || true
  exec 9>&-
  printf '%s\n' "${reply%$'\r'}"
}

answers() { [[ $(ask "$1" PING 5) == +PONG* ]]; }

# Waits until the server at port $1, process $2, answers, for $3 tenths of a second at most; else prints the end of its log, $4.
await() {
  for _ in $(seq "$3"); do
    if answers "$1" 2>/dev/null; then return; fi
    kill -0 "$2" 2>/dev/null || break
    sleep 0.1
  done
  tail -5 "$4" >&2
  return 1
}

# Ends processes in good order, and within a minute in any case.
end() {
  local process
  for process in "$@"; do
    kill -CONT "$process" 2>/dev/null || true
    kill -TERM "$process" 2>/dev/null || true
  done
  for process in "$@"; do
    for _ in $(seq 600); do
      kill -0 "$process" 2>/dev/null || break
      sleep 0.1
    done
    kill -KILL "$process" 2>/dev/null || true
    wait "$process" 2>/dev/null || true
  done
}

# The figures of a report of `cairn bench --json` as lines `group name value`: the totals of each group, and server, generator,
# elsewhere. One group without a name is `all`.
figures() {
  awk '
    function value(line) { sub(/^[^:]*: */, "", line); sub(/,$/, "", line); gsub(/"/, "", line); return line }
    /^      "name":/       { group = value($0); section = ""; next }
    /^      "total": [{]/ { section = group; next }
    /^      "commands": / { section = ""; next }
    /^  "server": [{]/    { section = "server"; next }
    /^  "generator": [{]/ { section = "generator"; next }
    /^  "elsewhere_cpus"/ { print "elsewhere cpus", value($0); next }
    /^      "checkpoint": [{]/ { section = group ".checkpoint"; next }
    /^ ? ? ? ? ? ?[]}]/   { section = "" }
    section != "" && /"[^"]*": [^{[]/ { name = $1; gsub(/[":]/, "", name); print section, name, value($0) }
  ' "$1"
}

# One of them: `figure FILE GROUP NAME`.
figure() { awk -v s="$2" -v n="$3" '$1 == s && $2 == n { print $3; exit }' "$1"; }

median() { sort -g | awk '{ v[NR] = $1 } END { if (NR) print NR % 2 ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2 }'; }

# An expression in awk's terms by a format.
calc() { awk "BEGIN { printf \"$1\", $2 }"; }

# `a / b` of two medians, or `-`.
ratio() { if [ -n "$1" ] && [ -n "$2" ]; then calc %.2f "$1 / $2"; else echo -; fi; }
