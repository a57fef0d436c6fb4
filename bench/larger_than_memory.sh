#!/usr/bin/env bash
# Data ten times larger than memory: reads beside fio, a skewed mix, Kvrocks, sustained writes, and what the disk holds and is
# given; and latency beside checkpoints.
#
#   bench/larger_than_memory.sh                     all parts; 17 minutes, ten of them for the sustained writes
#   PARTS=get,mix REPS=1 bench/larger_than_memory.sh
#   PARTS=kvrocks KVROCKS_SERVER=/opt/kvrocks/kvrocks bench/larger_than_memory.sh
#
# Prints Markdown for docs/PERFORMANCE.md on stdout, progress on stderr. Needs cargo, and fio for the comparison of reads. Every
# server is started here on its own port and ended by its process id.
#
#   PARTS           of: get mix kvrocks checkpoint set (comma-separated)
#   KEYS            keys, of values of 100 bytes (5000000)
#   LOAD_MEMORY     --memory while the keys are set, and for what is measured with everything in memory (8gb)
#   SHARE           what is then served with: one part of so many of the pages' bytes (10)
#   REPS            alternating repetitions of GET beside fio and Kvrocks, the medians of which are shown (3)
#   SECONDS_EACH    measured seconds of a run (6); SUSTAINED seconds of the sustained writes (600)
#   CLIENTS         of GET and of the mix, and the depth of fio (64)
#   KVROCKS_SERVER  its binary; without one its part is left out. KVROCKS_WORKERS its threads (8)
#   PLOT            where the picture of the part `checkpoint` goes (DIR/checkpoints.svg); PLOT_SECONDS how long it is (48)
#   DIR             data directories; must be on a real disk (target/larger)
#   KEEP            1: what is set stays for the next call with as many KEYS
#
# lib.sh has the others.
# shellcheck source=bench/lib.sh
. "$(dirname "$0")/lib.sh"

PARTS=${PARTS:-get,mix,kvrocks,checkpoint,set}
KEYS=${KEYS:-5000000}
LOAD_MEMORY=${LOAD_MEMORY:-8gb}
SHARE=${SHARE:-10}
REPS=${REPS:-3}
SECONDS_EACH=${SECONDS_EACH:-6}
SUSTAINED=${SUSTAINED:-600}
CLIENTS=${CLIENTS:-64}
KVROCKS_SERVER=${KVROCKS_SERVER:-}
KVROCKS_WORKERS=${KVROCKS_WORKERS:-8}
DIR=${DIR:-$here/target/larger}
PLOT=${PLOT:-$DIR/checkpoints.svg}
PLOT_SECONDS=${PLOT_SECONDS:-48}
KEEP=${KEEP:-0}
pid= port=$PORT

has_part() { case ",$PARTS," in *",$1,"*) true ;; *) false ;; esac; }

# --- the servers -----------------------------------------------------------------------------------------------------

# Starts Cairn with so much memory.
start() {
  port=$PORT
  taskset -c "$SERVER_CPU" "$CAIRN" serve --dir "$DIR/data" --port "$port" --shards 1 --cpus "$SERVER_CPU" \
    --metrics-addr off --memory "$1" >"$DIR/server.log" 2>&1 &
  pid=$!
  await "$port" "$pid" 1200 "$DIR/server.log" || die "the server did not start"
}

# Starts Kvrocks; $1 is whether a SET waits until it is stable: yes or no. Of the memory that Cairn has, a quarter is for what
# is not written yet, the rest for blocks; the system's cache of its files comes on top.
start_kvrocks() {
  local buffer=$((memory / 8000000))
  buffer=$((buffer > 4 ? buffer : 4))
  local blocks=$((memory / 1000000 - 2 * buffer))
  blocks=$((blocks > 8 ? blocks : 8))
  port=$((PORT + 1))
  mkdir -p "$DIR/kvrocks"
  cat >"$DIR/kvrocks.conf" <<CONF
bind 127.0.0.1
port $port
workers $KVROCKS_WORKERS
daemonize no
dir $DIR/kvrocks
log-dir $DIR/kvrocks
log-level warning
pidfile $DIR/kvrocks.pid
rocksdb.metadata_block_cache_size $blocks
rocksdb.subkey_block_cache_size 0
rocksdb.share_metadata_and_subkey_block_cache yes
rocksdb.cache_index_and_filter_blocks yes
rocksdb.write_buffer_size $buffer
rocksdb.max_write_buffer_number 2
rocksdb.compression no
rocksdb.write_options.sync $1
CONF
  taskset -c "$SERVER_CPU" "$KVROCKS_SERVER" -c "$DIR/kvrocks.conf" >"$DIR/kvrocks.log" 2>&1 &
  pid=$!
  await "$port" "$pid" 1200 "$DIR/kvrocks.log" || die "Kvrocks did not start"
}

stop() {
  if [ -n "$pid" ]; then end "$pid"; fi
  pid=
}

# One field of INFO, of what `info` has left in $DIR/info.
info() { ask_all "$port" 'INFO everything' >"$DIR/info"; }
field() { sed -n "s/^$1:\([0-9]*\).*/\1/p" "$DIR/info" | head -1; }

# Makes everything durable, twice: then nothing is held back for the checkpoint before.
save() {
  for _ in 1 2; do ask "$port" SAVE >"$DIR/save.txt"; done
}

# --- one run ---------------------------------------------------------------------------------------------------------

bench() {
  "$CAIRN" bench --port "$port" --cpus "$LOAD_CPU" --quiet --keys "$KEYS" --value-size 100 "$@"
}

# Runs a load for $1 seconds; the rest are arguments of `cairn bench`. What it reports is then `seen NAME`.
load() {
  local seconds=$1
  shift
  bench --pid "$pid" --json --warmup 1 --duration "$seconds" "$@" >"$DIR/run.json" || die "the load failed"
  figures "$DIR/run.json" >"$DIR/run.figures"
}

# A figure of all requests of the last run, or of another group; `cpu_us` is the server's of a request.
seen() {
  if [ "$1" = cpu_us ]; then figure "$DIR/run.figures" server cpu_us_per_request; else figure "$DIR/run.figures" "${2:-all}" "$1"; fi
}

# Keeps figures of this repetition, and gives the median of them all.
note() { printf '%s\n' "$2" >>"$DIR/noted.$1"; }
noted() { median <"$DIR/noted.$1"; }

mix=(--clients "$CLIENTS" --distribution zipf:0.99 --ratio 9:1)

# --- the data --------------------------------------------------------------------------------------------------------

fill() {
  say "setting $KEYS keys"
  rm -rf "$DIR/data" "$DIR/kept"
  start "$LOAD_MEMORY"
  bench --load-only -P 64 >"$DIR/load.txt" || die "the keys could not be set"
  save
  info
  echo "$KEYS $(field cairn_pages) $(($(field used_memory_pages) / $(field cairn_pages_in_memory)))" >"$DIR/kept"
  stop
}

fill_kvrocks() {
  say "setting $KEYS keys in Kvrocks"
  rm -rf "$DIR/kvrocks" "$DIR/kept.kvrocks"
  start_kvrocks no
  bench --load-only -P 64 >"$DIR/load.txt" || die "the keys could not be set in Kvrocks"
  # What is measured is not the tidying up after this.
  ask "$port" COMPACT >"$DIR/save.txt"
  until ask_all "$port" INFO >"$DIR/info" && grep -q '^is_compacting:no' "$DIR/info"; do sleep 1; done
  stop
  echo "$KEYS" >"$DIR/kept.kvrocks"
}

# Whether a file says that data of so many keys is there.
is_kept() { [ "$KEEP" = 1 ] && [ -e "$1" ] && [ "$(cut -d' ' -f1 "$1")" = "$KEYS" ]; }

# Starts with memory for everything, and has it there.
start_resident() {
  start "$LOAD_MEMORY"
  bench --requests "$KEYS" --distribution sequential --command 'GET {key}' --clients 16 -P 64 >"$DIR/load.txt" ||
    die "the keys could not be read"
}

# --- the parts -------------------------------------------------------------------------------------------------------

fio_rate() {
  taskset -c "$SERVER_CPU" fio --name=reads --filename="$DIR/data/shard-0000/pages" --readonly --rw=randread --bs="$page_bytes" \
    --direct=1 --ioengine=io_uring --iodepth="$CLIENTS" --time_based --runtime="$SECONDS_EACH" --output-format=json |
    sed -n 's/.*"iops" : \([0-9.]*\),*/\1/p' | head -1
}

reads() {
  local rep get fio
  for rep in $(seq "$REPS"); do
    say "repetition $rep of $REPS: fio, GET"
    if command -v fio >/dev/null; then note fio "$(fio_rate)"; fi
    start "$memory"
    load "$SECONDS_EACH" --clients "$CLIENTS" --command 'GET {key}'
    stop
    note get "$(seen per_second)"
    note get_cpu "$(seen cpu_us)"
    note get_p99 "$(seen p99)"
  done
  get=$(noted get)
  echo "| uniform GET, $CLIENTS clients | $(calc %.0f "$get")/s, p99 $(calc %.0f "$(noted get_p99)") us," \
    "$(calc %.1f "$(noted get_cpu)") us of server CPU each |"
  if [ -e "$DIR/noted.fio" ]; then
    fio=$(noted fio)
    echo "| fio, random reads of $page_bytes bytes, depth $CLIENTS, same core and file | $(calc %.0f "$fio")/s; GET has" \
      "$(calc %.0f "$get / $fio * 100") % of it (asked: 80 %) |"
  fi
}

mixed() {
  say "the mix, everything in memory"
  start_resident
  load "$SECONDS_EACH" "${mix[@]}"
  local resident reads commands hits
  resident=$(seen per_second)
  save
  stop
  say "the mix"
  start "$memory"
  # The cache is to be that of the mix.
  load 20 "${mix[@]}"
  info
  reads=$(field cairn_page_reads) commands=$(field total_commands_processed)
  load "$SECONDS_EACH" "${mix[@]}"
  info
  hits=$(calc %.4f "1 - ($(field cairn_page_reads) - $reads) / ($(field total_commands_processed) - $commands)")
  echo "| 90:10 GET:SET, Zipf 0.99, $CLIENTS clients | $(calc %.0f "$(seen per_second)")/s;" \
    "$(calc %.0f "$resident")/s with everything in memory; $(calc %.0f "$hits * 100") % of the commands needed no read |"
  echo "| its hits a second / what they would be at the rate in memory | $(calc %.0f "$(seen per_second) * $hits")" \
    "/ $(calc %.0f "$resident * $hits"): $(calc %.0f "$(seen per_second) / $resident * 100") % (asked: 70 %) |"
  stop
}

# Durable SETs, then GETs, of a server that has been started; the figures go by its name.
sets_and_gets() {
  load "$SECONDS_EACH" --clients "$CLIENTS" --command 'SET {key} {value}'
  note "$1_set" "$(seen per_second)"
  note "$1_set_p99" "$(seen p99)"
  load "$SECONDS_EACH" --clients "$CLIENTS" --command 'GET {key}'
  note "$1_get" "$(seen per_second)"
  note "$1_get_p99" "$(seen p99)"
  note "$1_resident" "$(awk '/^VmHWM/ { print $2 / 1000 }' "/proc/$pid/status")"
  stop
}

beside_kvrocks() {
  local rep what version
  version=$("$KVROCKS_SERVER" --version 2>&1 | sed -n 's/.*version \([^ ,]*\).*/\1/p' | head -1)
  if ! is_kept "$DIR/kept.kvrocks"; then fill_kvrocks; fi
  for rep in $(seq "$REPS"); do
    say "repetition $rep of $REPS: SET and GET, Cairn"
    start "$memory"
    sets_and_gets cairn
    say "repetition $rep of $REPS: SET and GET, Kvrocks"
    start_kvrocks yes
    sets_and_gets kvrocks
  done
  echo "| resident memory at its highest | Cairn $(calc %.0f "$(noted cairn_resident)") MB; Kvrocks" \
    "$(calc %.0f "$(noted kvrocks_resident)") MB and the system's cache of its files |"
  for what in set get; do
    echo "| uniform ${what^^}$([ $what = set ] && echo ', durable'), $CLIENTS clients: Cairn / Kvrocks $version, sync yes," \
      "$KVROCKS_WORKERS workers | $(calc %.0f "$(noted "cairn_$what")")/s, p99 $(calc %.0f "$(noted "cairn_${what}_p99")") us" \
      "/ $(calc %.0f "$(noted "kvrocks_$what")")/s, p99 $(calc %.0f "$(noted "kvrocks_${what}_p99")") us:" \
      "$(ratio "$(noted "cairn_$what")" "$(noted "kvrocks_$what")") (asked: $([ $what = set ] && echo 5 || echo 1)) |"
  done
}

# Latency by the second at half of what the server can do, beside the checkpoints that it makes meanwhile.
beside_checkpoints() {
  local half what
  start_resident
  say "as fast as it goes, then $PLOT_SECONDS s at half of that"
  load "$SECONDS_EACH" --clients 50 --ratio 2:3
  half=$(calc %.0f "$(seen per_second) / 2")
  load "$PLOT_SECONDS" --timeline "$PLOT" \
    --group "name=set clients=25 pipeline=64 rate=$(calc %.0f "$half * 0.6") command=SET {key} {value}" \
    --group "name=get clients=25 pipeline=64 rate=$(calc %.0f "$half * 0.4") command=GET {key}"
  for what in set get; do
    if [ -z "$(seen seconds_with $what.checkpoint)" ]; then
      echo "| open loop at half of saturation, $half/s: ${what^^} | all seconds were with a checkpoint, or none |"
      continue
    fi
    echo "| open loop at half of saturation, $half/s: p99 of ${what^^} in the median second with a checkpoint / without |" \
      "$(calc %.0f "$(seen p99_us_with $what.checkpoint)") us ($(seen seconds_with $what.checkpoint) s)" \
      "/ $(calc %.0f "$(seen p99_us_without $what.checkpoint)") us ($(seen seconds_without $what.checkpoint) s):" \
      "$(ratio "$(seen p99_us_with $what.checkpoint)" "$(seen p99_us_without $what.checkpoint)") (asked: at most 1.5) |"
  done
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
    "seconds below half the median: $below of $(wc -l <"$DIR/seconds") (asked: 0); p99 $(calc %.0f "$(seen p99) / 1000") ms |"
  echo "| bytes written for each SET of 111 bytes of key and value | log $(calc %.0f "$log / $commands"), page file" \
    "$(calc %.0f "$file / $commands"): $(calc %.0f "($log + $file) / $commands / 111") times;" \
    "$(calc %.2f "$written / $commands") pages a SET, $(calc %.0f "$early / $written * 100") % of them victims |"
  echo "| the data directory at its largest, and what is live in it | $largest MB / $((live / 1000000)) MB |"
  stop
}

main() {
  command -v taskset >/dev/null || die "taskset is not installed"
  if has_part kvrocks && [ -z "$KVROCKS_SERVER" ]; then say "without Kvrocks: KVROCKS_SERVER is not set"; fi
  build_cairn
  mkdir -p "$DIR"
  need_disk "$DIR" "it has no reads"
  rm -f "$DIR"/noted.*
  trap stop EXIT
  trap 'exit 130' INT TERM HUP PIPE
  if ! is_kept "$DIR/kept"; then fill; fi
  read -r _ pages page_bytes <"$DIR/kept"
  live=$((pages * page_bytes))
  memory=$((live / SHARE))
  echo "$KEYS keys, values of 100 bytes: $pages pages of $page_bytes bytes, $((live / KEYS)) bytes a key; --memory $((memory / 1000000)) MB," \
    "one part of $SHARE; server on core $SERVER_CPU, load on core $LOAD_CPU."
  echo
  echo "| what | seen |"
  echo "| --- | --- |"
  if has_part get; then reads; fi
  if has_part mix; then mixed; fi
  if has_part kvrocks && [ -n "$KVROCKS_SERVER" ]; then beside_kvrocks; fi
  if has_part checkpoint; then beside_checkpoints; fi
  if has_part set; then sustained; fi
  if [ "$KEEP" != 1 ]; then rm -rf "$DIR/data" "$DIR/kvrocks" "$DIR"/kept*; fi
}

main
