#!/usr/bin/env bash
# Data ten times larger than memory: reads beside fio, a skewed mix, sustained writes, and what the disk holds and is given.
#
#   bench/larger_than_memory.sh                     all parts; 15 minutes, ten of them for the sustained writes
#   PARTS=get,mix REPS=1 bench/larger_than_memory.sh
#
# Prints Markdown for docs/PERFORMANCE.md on stdout, progress on stderr. Needs cargo, and fio for the comparison of reads. The
# server is started here on its own port and ended by its process id.
#
#   CAIRN           the binary; default: built here with `cargo build --release`
#   PARTS           of: get mix set (comma-separated)
#   KEYS            keys, of values of 100 bytes (5000000)
#   LOAD_MEMORY     --memory while the keys are set, and for the rate with everything in memory (8gb)
#   SHARE           what is then served with: one part of so many of the pages' bytes (10)
#   REPS            alternating repetitions of fio and GET, the medians of which are shown (3)
#   SECONDS_EACH    measured seconds of a run (6); SUSTAINED seconds of the sustained writes (600)
#   CLIENTS         of GET and of the mix, and the depth of fio (64)
#   SERVER_CPU, LOAD_CPU   cores (0 and 1)
#   PORT            (7970)
#   DIR             data directory; must be on a real disk (target/larger)
set -euo pipefail
export LC_ALL=C

here=$(cd "$(dirname "$0")/.." && pwd)
CAIRN=${CAIRN:-}
PARTS=${PARTS:-get,mix,set}
KEYS=${KEYS:-5000000}
LOAD_MEMORY=${LOAD_MEMORY:-8gb}
SHARE=${SHARE:-10}
REPS=${REPS:-3}
SECONDS_EACH=${SECONDS_EACH:-6}
SUSTAINED=${SUSTAINED:-600}
CLIENTS=${CLIENTS:-64}
SERVER_CPU=${SERVER_CPU:-0}
LOAD_CPU=${LOAD_CPU:-1}
PORT=${PORT:-7970}
DIR=${DIR:-$here/target/larger}
pid=

say() { printf '%s\n' "$*" >&2; }
die() { say "larger_than_memory.sh: $*"; exit 1; }
has() { case ",$PARTS," in *",$1,"*) true ;; *) false ;; esac; }

# One field of INFO, of what `info` has left in $DIR/info.
field() { sed -n "s/^$1:\([0-9]*\).*/\1/p" "$DIR/info" | head -1; }
info() {
  exec 9<>"/dev/tcp/127.0.0.1/$PORT"
  printf 'INFO everything\r\nQUIT\r\n' >&9
  tr -d '\r' <&9 >"$DIR/info"
  exec 9>&-
}

answers() {
  local reply=
  exec 9<>"/dev/tcp/127.0.0.1/$PORT" || return 1
  printf 'PING\r\n' >&9
  read -r -t 5 reply <&9 || true
  exec 9>&-
  [[ $reply == +PONG* ]]
}

start() {
  taskset -c "$SERVER_CPU" "$CAIRN" serve --dir "$DIR/data" --port "$PORT" --shards 1 --cpus "$SERVER_CPU" \
    --metrics-addr off --memory "$1" >"$DIR/server.log" 2>&1 &
  pid=$!
  for _ in $(seq 1200); do
    if answers 2>/dev/null; then return; fi
    kill -0 "$pid" 2>/dev/null || break
    sleep 0.1
  done
  tail -5 "$DIR/server.log" >&2
  die "the server did not start"
}

stop() {
  if [ -n "$pid" ]; then kill "$pid" 2>/dev/null || true; wait "$pid" 2>/dev/null || true; fi
  pid=
}

# Makes everything durable, twice: then nothing is held back for the checkpoint before.
save() {
  for _ in 1 2; do
    exec 9<>"/dev/tcp/127.0.0.1/$PORT"
    printf 'SAVE\r\n' >&9
    read -r _ <&9
    exec 9>&-
  done
}

# Runs a load for $1 seconds; the rest are arguments of `cairn bench`. Leaves the report in $DIR/run.json.
load() {
  local seconds=$1
  shift
  "$CAIRN" bench --port "$PORT" --cpus "$LOAD_CPU" --pid "$pid" --json --quiet --keys "$KEYS" --value-size 100 \
    --warmup 1 --duration "$seconds" "$@" >"$DIR/run.json" || die "the load failed"
}

# The first value of a name in the report: that of the whole run.
figure() { sed -n "s/.*\"$1\": \([0-9.e+-]*\),*/\1/p" "$DIR/run.json" | head -1; }
median() { sort -g | awk '{ v[NR] = $1 } END { print NR % 2 ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2 }'; }
calc() { awk "BEGIN { printf \"$1\", $2 }"; }

mix=(--clients "$CLIENTS" --distribution zipf:0.99 --ratio 9:1)

fill() {
  say "setting $KEYS keys"
  start "$LOAD_MEMORY"
  "$CAIRN" bench --port "$PORT" --cpus "$LOAD_CPU" --load-only --quiet --keys "$KEYS" --value-size 100 -P 64 >"$DIR/load.txt" ||
    die "the keys could not be set"
  save
  info
  pages=$(field cairn_pages)
  page_bytes=$(($(field used_memory_pages) / $(field cairn_pages_in_memory)))
  live=$((pages * page_bytes))
  memory=$((live / SHARE))
  if has mix; then
    say "the mix, everything in memory"
    load "$SECONDS_EACH" "${mix[@]}"
    mix_rate=$(figure per_second)
    save
  fi
  stop
}

fio_rate() {
  taskset -c "$SERVER_CPU" fio --name=reads --filename="$DIR/data/shard-0000/pages" --readonly --rw=randread --bs="$page_bytes" \
    --direct=1 --ioengine=io_uring --iodepth="$CLIENTS" --time_based --runtime="$SECONDS_EACH" --output-format=json |
    sed -n 's/.*"iops" : \([0-9.]*\),*/\1/p' | head -1
}

reads() {
  local rep
  : >"$DIR/fio" && : >"$DIR/get" && : >"$DIR/get_cpu" && : >"$DIR/get_p99"
  for rep in $(seq "$REPS"); do
    say "repetition $rep of $REPS: fio, GET"
    if command -v fio >/dev/null; then fio_rate >>"$DIR/fio"; fi
    start "$memory"
    load "$SECONDS_EACH" --clients "$CLIENTS" --command 'GET {key}'
    stop
    figure per_second >>"$DIR/get"
    figure cpu_us_per_request | tail -1 >>"$DIR/get_cpu"
    figure p99 >>"$DIR/get_p99"
  done
  local get
  get=$(median <"$DIR/get")
  echo "| uniform GET, $CLIENTS clients | $(calc %.0f "$get")/s, p99 $(calc %.0f "$(median <"$DIR/get_p99")") us, " \
    "$(calc %.1f "$(median <"$DIR/get_cpu")") us of server CPU each |"
  if [ -s "$DIR/fio" ]; then
    local fio
    fio=$(median <"$DIR/fio")
    echo "| fio, random reads of $page_bytes bytes, depth $CLIENTS, same core and file | $(calc %.0f "$fio")/s; GET has" \
      "$(calc %.0f "$get / $fio * 100") % of it (asked: 80 %) |"
  fi
}

mixed() {
  say "the mix"
  start "$memory"
  # The cache is to be that of the mix.
  load 20 "${mix[@]}"
  info
  local reads=$(field cairn_page_reads) commands=$(field total_commands_processed) hits
  load "$SECONDS_EACH" "${mix[@]}"
  info
  hits=$(calc %.4f "1 - ($(field cairn_page_reads) - $reads) / ($(field total_commands_processed) - $commands)")
  echo "| 90:10 GET:SET, Zipf 0.99, $CLIENTS clients | $(calc %.0f "$(figure per_second)")/s;" \
    "$(calc %.0f "$mix_rate")/s with everything in memory; $(calc %.0f "$hits * 100") % of the commands needed no read |"
  echo "| its hits a second / what they would be at the rate in memory | $(calc %.0f "$(figure per_second) * $hits")" \
    "/ $(calc %.0f "$mix_rate * $hits"): $(calc %.0f "$(figure per_second) / $mix_rate * 100") % (asked: 70 %) |"
  stop
}

sustained() {
  say "SET for $SUSTAINED s"
  start "$memory"
  info
  local log=$(field aof_current_size) file=$(field cairn_page_file_bytes_written) commands=$(field total_commands_processed)
  local before=$commands early=$(field cairn_pages_written_early) written=$(field cairn_pages_written) now next largest=0 used
  : >"$DIR/seconds"
  load "$SUSTAINED" --clients 50 --pipeline 64 --command 'SET {key} {value}' &
  local loading=$! begun
  begun=$(date +%s%N)
  sleep 2
  info
  before=$(field total_commands_processed)
  next=$(date +%s%N)
  while [ $(($(date +%s%N) - begun)) -lt $(((SUSTAINED - 1) * 1000000000)) ]; do
    next=$((next + 1000000000))
    now=$(date +%s%N)
    sleep "$(calc %.3f "($next > $now ? $next - $now : 0) / 1e9")"
    info
    echo $(($(field total_commands_processed) - before)) >>"$DIR/seconds"
    before=$(field total_commands_processed)
    used=$(du -sm "$DIR/data" | cut -f1)
    if [ "$used" -gt "$largest" ]; then largest=$used; fi
  done
  wait "$loading" || die "the writes failed"
  info
  commands=$(($(field total_commands_processed) - commands))
  log=$(($(field aof_current_size) - log))
  file=$(($(field cairn_page_file_bytes_written) - file))
  written=$(($(field cairn_pages_written) - written))
  early=$(($(field cairn_pages_written_early) - early))
  local middle least below
  middle=$(median <"$DIR/seconds")
  least=$(sort -g "$DIR/seconds" | head -1)
  below=$(awk -v half="$middle" '$1 < half / 2' "$DIR/seconds" | wc -l)
  echo "| uniform SET, 50 clients, pipeline 64, $SUSTAINED s | median second $(calc %.0f "$middle")/s, least $least/s;" \
    "seconds below half the median: $below of $(wc -l <"$DIR/seconds") (asked: 0); p99 $(calc %.0f "$(figure p99) / 1000") ms |"
  echo "| bytes written for each SET of 111 bytes of key and value | log $(calc %.0f "$log / $commands"), page file" \
    "$(calc %.0f "$file / $commands"): $(calc %.0f "($log + $file) / $commands / 111") times;" \
    "$(calc %.2f "$written / $commands") pages a SET, $(calc %.0f "$early / $written * 100") % of them victims |"
  echo "| the data directory at its largest, and what is live in it | $largest MB / $((live / 1000000)) MB |"
  stop
}

main() {
  command -v taskset >/dev/null || die "taskset is not installed"
  if [ -z "$CAIRN" ]; then
    say "building cairn"
    cargo build --release --quiet --manifest-path "$here/Cargo.toml" >&2
    CAIRN=$here/target/release/cairn
  fi
  mkdir -p "$DIR"
  case $(stat -f -c %T "$DIR") in tmpfs|ramfs) die "$DIR is in memory: it has no reads. Set DIR" ;; esac
  rm -rf "$DIR/data"
  trap stop EXIT
  trap 'exit 130' INT TERM HUP PIPE
  fill
  echo "$KEYS keys, values of 100 bytes: $pages pages of $page_bytes bytes, $((live / KEYS)) bytes a key; --memory $((memory / 1000000)) MB," \
    "one part of $SHARE; server on core $SERVER_CPU, load on core $LOAD_CPU."
  echo
  echo "| what | seen |"
  echo "| --- | --- |"
  if has get; then reads; fi
  if has mix; then mixed; fi
  if has set; then sustained; fi
  rm -rf "$DIR/data"
}

main
