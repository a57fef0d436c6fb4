#!/usr/bin/env bash
# Side by side: Cairn, redis-server and Valkey on the same core, one after the other in every repetition.
#
#   bench/compare.sh                    all rows; 10 to 30 minutes, by how quiet the machine is
#   ROWS=set1,get64 REPS=3 bench/compare.sh
#
# Prints Markdown for docs/PERFORMANCE.md on stdout, progress on stderr. Needs cargo and redis-server; root is not needed
# (as root, server and load run with nice -10). Every server is started here on its own port and ended by its process id.
#
#   CAIRN           the binary; default: built here with `cargo build --release`; `none` leaves Cairn out
#   BENCH           the load generator; default: `$CAIRN bench`
#   REDIS_SERVER    default: redis-server from PATH; `none` leaves it out
#   VALKEY_SERVER   default: valkey-server from PATH, if there is one; `none` leaves it out
#   CAIRN_FLAGS     more arguments for `cairn serve`
#   ROWS            of: set1 set8 set50 set50p16 set50p64 get50 get50p16 get50p64 open flush (comma-separated)
#   REPS            alternating repetitions, the medians of which are shown (5)
#   SECONDS_EACH    measured seconds of a run (3); WARMUP seconds before (0.5)
#   KEYS            keys in every server (1000000); DURABLE_KEYS of them used by the durable rows (100000)
#   SERVER_CPU, LOAD_CPU   cores (0 and 1)
#   PORT            the first of five ports (7970)
#   DIR             data directories; must be on a real disk (target/compare)
#   NOISE, TRIES    a run beside which more than NOISE CPUs were busy elsewhere (0.25) is repeated, up to TRIES runs (3),
#                   and the quietest is kept
# shellcheck source=bench/lib.sh
. "$(dirname "$0")/lib.sh"

REDIS_SERVER=${REDIS_SERVER:-$(command -v redis-server || echo none)}
VALKEY_SERVER=${VALKEY_SERVER:-$(command -v valkey-server || echo none)}
CAIRN_FLAGS=${CAIRN_FLAGS:-}
ROWS=${ROWS:-set1,set8,set50,set50p16,set50p64,get50,get50p16,get50p64,open,flush}
REPS=${REPS:-5}
SECONDS_EACH=${SECONDS_EACH:-3}
WARMUP=${WARMUP:-0.5}
KEYS=${KEYS:-1000000}
DURABLE_KEYS=${DURABLE_KEYS:-100000}
DIR=${DIR:-$here/target/compare}
NOISE=${NOISE:-0.25}
TRIES=${TRIES:-3}

# --- the servers -----------------------------------------------------------------------------------------------------

declare -A pid port durability version
servers=()        # ids in the order they were started
all_ids="cairn redis-always valkey-always valkey-none redis-none"

# The command line of a server, one word a line.
command_of() {
  local id=$1 dir=$2 common
  common=(--bind 127.0.0.1 --port "${port[$id]}" --dir "$dir" --save "" --auto-aof-rewrite-percentage 0)
  case $id in
    cairn)
      printf '%s\n' "$CAIRN" serve --dir "$dir" --port "${port[$id]}" --shards 1 --cpus "$SERVER_CPU" \
        --metrics-addr 127.0.0.1:0
      # shellcheck disable=SC2086  # the flags are words
      if [ -n "$CAIRN_FLAGS" ]; then printf '%s\n' $CAIRN_FLAGS; fi ;;
    redis-always)  printf '%s\n' "$REDIS_SERVER" "${common[@]}" --appendonly yes --appendfsync always ;;
    redis-none)    printf '%s\n' "$REDIS_SERVER" "${common[@]}" --appendonly no ;;
    valkey-always) printf '%s\n' "$VALKEY_SERVER" "${common[@]}" --appendonly yes --appendfsync always ;;
    valkey-none)   printf '%s\n' "$VALKEY_SERVER" "${common[@]}" --appendonly no ;;
  esac
}

durability_of() {
  case $1 in
    cairn)    echo "durable: each SET answered after its flush" ;;
    *-always) echo "durable: appendfsync always" ;;
    *-none)   echo "none: no persistence" ;;
  esac
}

version_of() {
  case $1 in
    cairn)    "$CAIRN" --version | sed -E '1!d; s/.*v=([^ ]+).*/cairn \1/' ;;
    redis-*)  "$REDIS_SERVER" --version | sed -E 's/.*v=([^ ]+).*/redis-server \1/' ;;
    valkey-*) "$VALKEY_SERVER" --version | sed -E 's/.*v=([^ ]+).*/valkey-server \1/' ;;
  esac
}

binary_of() {
  case $1 in cairn) echo "$CAIRN" ;; redis-*) echo "$REDIS_SERVER" ;; valkey-*) echo "$VALKEY_SERVER" ;; esac
}

# The open-loop probe is a process of its own that comes before the writers' generator, which shares its core: what it
# waits for is the server.
favoured=() probing=()
if chrt -f 20 true 2>/dev/null; then probing=(chrt -f 20); fi
if [ "$(id -u)" = 0 ] && nice -n -10 true 2>/dev/null; then favoured=(nice -n -10); fi

start() {
  local id=$1 dir=$DIR/data/$1 words
  mkdir -p "$dir"
  mapfile -t words < <(command_of "$id" "$dir")
  "${favoured[@]}" taskset -c "$SERVER_CPU" "${words[@]}" >"$DIR/$id.log" 2>&1 &
  pid[$id]=$!
  servers+=("$id")
  await "${port[$id]}" "${pid[$id]}" 300 "$DIR/$id.log" || die "$id did not start (${words[*]})"
}

stop_all() {
  local id processes=()
  for id in "${servers[@]}"; do processes+=("${pid[$id]}"); done
  end "${processes[@]}"
  servers=()
  rm -rf "$DIR/data" "$DIR/flush.probe"
}

# --- one run ---------------------------------------------------------------------------------------------------------

# Runs the load of a row on a server that is not stopped, and keeps the quietest of several tries in $4.
measure() {
  local row=$1 id=$2 keep=$4 try status noise least= seed
  mapfile -t load < <(load_of "$row")
  for try in $(seq "$TRIES"); do
    seed=$((1000 * $3 + try))
    status=0
    case $row in
      alone) load "$id" "$SECONDS_EACH" "${probing[@]}" >"$DIR/run.json" || status=$? ;;
      beside)
        mapfile -t load < <(load_of writers)
        load "$id" "$((SECONDS_EACH + 2))" "${favoured[@]}" >"$DIR/writers.json" & local writers=$!
        sleep 1
        mapfile -t load < <(load_of alone)
        load "$id" "$SECONDS_EACH" "${probing[@]}" >"$DIR/run.json" || status=$?
        wait "$writers" || die "the writers of row $row on $id ended with status $?" ;;
      *) load "$id" "$SECONDS_EACH" "${favoured[@]}" >"$DIR/run.json" || status=$? ;;
    esac
    [ "$status" = 0 ] || [ "$status" = 3 ] || die "row $row on $id ended with status $status"
    figures "$DIR/run.json" >"$DIR/run.figures"
    if [ "$row" = beside ]; then
      # How busy others were is the writers' to say: for the probe, they are others.
      { grep '^get ' "$DIR/run.figures"; figures "$DIR/writers.json"; } >"$DIR/both.figures"
      mv "$DIR/both.figures" "$DIR/run.figures"
    fi
    if [ "$status" = 3 ]; then
      grep -E 'first_error|unanswered|nil_replies' "$DIR/run.figures" >&2
      die "row $row on $id: not every request was answered well"
    fi
    noise=$(figure "$DIR/run.figures" elsewhere cpus)
    [ -n "$noise" ] && [ -n "$(figure "$DIR/run.figures" "$(group_of "$row")" p50)" ] || die "row $row on $id: no figures"
    if [ -z "$least" ] || awk "BEGIN { exit !($noise < $least) }"; then
      least=$noise
      cp "$DIR/run.figures" "$keep"
    fi
    if awk "BEGIN { exit !($noise < $NOISE) }"; then break; fi
  done
}

# Runs the load generator on a server for so many seconds; further arguments are what it is run by.
load() {
  local id=$1 seconds=$2
  shift 2
  "$@" "${BENCH[@]}" --port "${port[$id]}" --cpus "$LOAD_CPU" --pid "${pid[$id]}" --json --quiet --seed "$seed" \
    --warmup "$WARMUP" --duration "$seconds" --value-size 100 "${load[@]}"
}

load_of() {
  local durable=(--keys "$DURABLE_KEYS") all=(--keys "$KEYS")
  local set=(--command 'SET {key} {value}') get=(--command 'GET {key}')
  local probe="name=get clients=4 rate=1000 command=GET {key}" writers="name=set clients=50 command=SET {key} {value}"
  case $1 in
    set1|flush) printf '%s\n' "${durable[@]}" --clients 1 "${set[@]}" ;;
    set8)       printf '%s\n' "${durable[@]}" --clients 8 "${set[@]}" ;;
    set50)      printf '%s\n' "${durable[@]}" --clients 50 "${set[@]}" ;;
    set50p16)   printf '%s\n' "${all[@]}" --clients 50 --pipeline 16 "${set[@]}" ;;
    set50p64)   printf '%s\n' "${all[@]}" --clients 50 --pipeline 64 "${set[@]}" ;;
    get50)      printf '%s\n' "${all[@]}" --clients 50 "${get[@]}" ;;
    get50p16)   printf '%s\n' "${all[@]}" --clients 50 --pipeline 16 "${get[@]}" ;;
    get50p64)   printf '%s\n' "${all[@]}" --clients 50 --pipeline 64 "${get[@]}" ;;
    alone|beside) printf '%s\n' "${durable[@]}" --group "$probe" ;;
    writers)    printf '%s\n' "${durable[@]}" --group "$writers" ;;
    *)          die "no row $1" ;;
  esac
}

title_of() {
  case $1 in
    set1) echo "SET, 1 client" ;;                set8) echo "SET, 8 clients" ;;
    set50) echo "SET, 50 clients" ;;             set50p16) echo "SET, 50 clients, pipeline 16" ;;
    set50p64) echo "SET, 50 clients, pipeline 64" ;;
    get50) echo "GET, 50 clients" ;;             get50p16) echo "GET, 50 clients, pipeline 16" ;;
    get50p64) echo "GET, 50 clients, pipeline 64" ;;
    alone) echo "GET at 1,000/s, open loop, alone" ;;
    beside) echo "GET at 1,000/s, open loop, beside 50 clients of SET" ;;
  esac
}

# The servers that a row is about: those with its durability, and those that the table compares with.
ids_of() {
  case $1 in
    set1|set8|set50|alone|beside) echo "cairn redis-always valkey-always" ;;
    flush)                        echo "cairn redis-always valkey-always" ;;
    get*)                         echo "cairn valkey-none redis-none" ;;
    *)                            echo "cairn valkey-none redis-none redis-always" ;;
  esac
}

# --- the device's flush ----------------------------------------------------------------------------------------------

# Microseconds of one 4 KiB overwrite that is on stable storage when it returns, depth 1, O_DIRECT.
flush_us() {
  local probe=$DIR/flush.probe
  if command -v fio >/dev/null; then
    "${favoured[@]}" taskset -c "$SERVER_CPU" fio --name=flush --filename="$probe" --filesize=16m --rw=write --bs=4k --direct=1 \
      --sync=dsync --overwrite=1 --ioengine=psync --time_based --runtime="$SECONDS_EACH" --output-format=json |
      awk '/^      "write" : [{]/ { write = 1 } write && /"50.000000"/ { gsub(/[^0-9]/, "", $3); print $3 / 1000; exit }'
    return
  fi
  local count=4096 seconds
  dd if=/dev/zero of="$probe" bs=1M count=16 conv=fsync status=none
  seconds=$("${favoured[@]}" taskset -c "$SERVER_CPU" dd if=/dev/zero of="$probe" bs=4k count=$count oflag=direct,dsync \
    conv=notrunc 2>&1 | sed -nE 's/.* copied, ([0-9.e-]+) s.*/\1/p')
  awk "BEGIN { print $seconds * 1e6 / $count }"
}

flush_method() { command -v fio >/dev/null && echo "fio, p50" || echo "dd, mean"; }

# --- the table -------------------------------------------------------------------------------------------------------

# The median of a figure over the repetitions; nothing if the row was not run on that server.
over_runs() {
  local file
  for file in "$DIR"/runs/"$1"."$2".*; do
    if [ -e "$file" ]; then figure "$file" "$3" "$4"; fi
  done | median
}

# Half the distance between the slowest and the fastest repetition, in percent of the median.
spread() {
  local file
  for file in "$DIR"/runs/"$1"."$2".*; do figure "$file" "$3" per_second; done | sort -g |
    awk '{ v[NR] = $1 } END { m = NR % 2 ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2
                              printf "%.0f", (v[NR] - v[1]) / 2 / (m + 1e-9) * 100 }'
}

# Says how far the machine was not ours alone.
disturbances() {
  local file
  for file in "$DIR"/runs/*; do figure "$file" elsewhere cpus; done | awk -v noise="$NOISE" '
    $1 > noise { loud++ } $1 > most { most = $1 } { runs++ }
    END { printf "\nBeside %d of the %d runs more than %s CPUs were busy with other work (at most %.2f).\n", loud, runs, noise, most }'
}

group_of() { case $1 in alone|beside) echo get ;; *) echo all ;; esac; }

table() {
  local row id group
  echo "| workload | server | what a reply promises | requests/s (±%) | p50 us | p99 us | p99.9 us | server CPU us/request | server core busy |"
  echo "| --- | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |"
  for row in "$@"; do
    [ "$row" != flush ] || continue
    group=$(group_of "$row")
    for id in $(ids_of "$row"); do
      [ -n "${pid[$id]:-}" ] || continue
      printf '| %s | %s | %s | %.0f (±%s) | %.0f | %.0f | %.0f | %.2f | %.0f %% |\n' "$(title_of "$row")" "${version[$id]}" \
        "${durability[$id]}" "$(over_runs "$row" "$id" "$group" per_second)" "$(spread "$row" "$id" "$group")" \
        "$(over_runs "$row" "$id" "$group" p50)" "$(over_runs "$row" "$id" "$group" p99)" \
        "$(over_runs "$row" "$id" "$group" p99.9)" "$(over_runs "$row" "$id" server cpu_us_per_request)" \
        "$(over_runs "$row" "$id" server cpus | awk '{ print $1 * 100 }')"
    done
  done
}

verdicts() {
  local row id need
  echo
  echo "| claim | asked | seen |"
  echo "| --- | ---: | ---: |"
  for row in "$@"; do
    case $row in
      set1|set8|set50)
        need=$(case $row in set1) echo 1.7 ;; set8) echo 2.0 ;; set50) echo 1.6 ;; esac)
        echo "| $(title_of "$row"): throughput, Cairn / redis-server appendfsync always | >= $need |" \
          "$(ratio "$(over_runs "$row" cairn all per_second)" "$(over_runs "$row" redis-always all per_second)") |" ;;
      set50p16|set50p64)
        echo "| $(title_of "$row"): throughput, durable Cairn / Valkey without persistence | >= 1 |" \
          "$(ratio "$(over_runs "$row" cairn all per_second)" "$(over_runs "$row" valkey-none all per_second)") |"
        echo "| $(title_of "$row"): CPU a request, durable Cairn / Valkey without persistence | <= 1 |" \
          "$(ratio "$(over_runs "$row" cairn server cpu_us_per_request)" \
            "$(over_runs "$row" valkey-none server cpu_us_per_request)") |" ;;
      get50|get50p16|get50p64)
        need=$(case $row in get50) echo 0.95 ;; *) echo 0.9 ;; esac)
        echo "| $(title_of "$row"): CPU a request, Cairn / Valkey | <= $need |" \
          "$(ratio "$(over_runs "$row" cairn server cpu_us_per_request)" \
            "$(over_runs "$row" valkey-none server cpu_us_per_request)") |" ;;
      beside)
        for id in $(ids_of beside); do
          [ -n "${pid[$id]:-}" ] || continue
          echo "| GET at 1,000/s, beside 50 durable writers / alone, ${version[$id]}: p50, p99 |" \
            "$([ "$id" = cairn ] && echo '<= 1.3, <= 2')|" \
            "$(ratio "$(over_runs beside "$id" get p50)" "$(over_runs alone "$id" get p50)")," \
            "$(ratio "$(over_runs beside "$id" get p99)" "$(over_runs alone "$id" get p99)") |"
        done ;;
      flush)
        for id in $(ids_of flush); do
          [ -n "${pid[$id]:-}" ] || continue
          echo "| SET p50, 1 client, minus the device's flush of 4 KiB ($(flush_method): $(median <"$DIR/flush_us") us)," \
            "${version[$id]} | $([ "$id" = cairn ] && echo '<= 60 us')|" \
            "$(awk "BEGIN { printf \"%.0f us\", $(over_runs set1 "$id" all p50) - $(median <"$DIR/flush_us") }") |"
        done ;;
    esac
  done
}

# --- all together ----------------------------------------------------------------------------------------------------

has() { [ "$1" != none ] && command -v "$1" >/dev/null; }

prepare() {
  for tool in taskset awk sed; do command -v "$tool" >/dev/null || die "$tool is not installed"; done
  build_cairn
  if [ -z "${BENCH:-}" ]; then
    has "$CAIRN" || die "without Cairn, BENCH must name the load generator"
    BENCH=("$CAIRN" bench)
  else
    read -r -a BENCH <<<"$BENCH"
  fi
  mkdir -p "$DIR"
  rm -rf "$DIR/runs" "$DIR/data"
  mkdir -p "$DIR/runs"
  : >"$DIR/flush_us"
  need_disk "$DIR" "what is flushed there survives nothing"
}

start_servers() {
  local id next=$PORT
  for id in $all_ids; do
    port[$id]=$next
    next=$((next + 1))
    case " $(for row in "${rows[@]}"; do ids_of "$row"; done | tr '\n' ' ') " in *" $id "*) ;; *) continue ;; esac
    if ! has "$(binary_of "$id")"; then
      say "without $id: no such binary"
      continue
    fi
    version[$id]=$(version_of "$id")
    durability[$id]=$(durability_of "$id")
    say "starting $id (${version[$id]}), setting $KEYS keys"
    start "$id"
    "${favoured[@]}" "${BENCH[@]}" --port "${port[$id]}" --cpus "$LOAD_CPU" --load-only --quiet --keys "$KEYS" \
      --value-size 100 >"$DIR/load.txt" || die "$id could not be filled"
    kill -STOP "${pid[$id]}"
  done
}

machine() {
  local fs
  fs=$(df --output=source,fstype "$DIR" | tail -1 | tr -s ' ')
  echo "$(date -u +%F); $(awk -F': ' '/model name/ { print $2; exit }' /proc/cpuinfo), $(nproc) cores," \
    "$(awk '/MemTotal/ { printf "%.0f", $2 / 1048576 }' /proc/meminfo) GiB, Linux $(uname -r), data on $fs."
  echo "Server on core $SERVER_CPU, load on core $LOAD_CPU${favoured[*]:+, both ${favoured[*]}}${probing[*]:+; the open-loop probe by ${probing[*]}}; values of 100 bytes," \
    "$KEYS keys in each server ($DURABLE_KEYS of them used at pipeline 1 by the durable rows); medians of $REPS alternating" \
    "runs of $SECONDS_EACH s. Closed loop unless said; open-loop latency counts from the intended send time."
  echo
  echo "Command: \`ROWS=$ROWS REPS=$REPS SECONDS_EACH=$SECONDS_EACH bench/compare.sh\`. Servers:"
  echo
  local id words
  for id in "${servers[@]}"; do
    mapfile -t words < <(command_of "$id" DIR)
    printf -- '- %s (%s): `%s`\n' "${version[$id]}" "${durability[$id]}" "$(printf '%q ' "${words[@]##*/}" | sed 's/ $//')"
  done
  echo
}

main() {
  local row id rep order=
  rows=()
  for row in ${ROWS//,/ }; do
    case $row in
      open) rows+=(alone beside) ;;
      flush) case " ${rows[*]} " in *" set1 "*) ;; *) rows+=(set1) ;; esac; rows+=(flush) ;;
      *) load_of "$row" >/dev/null; rows+=("$row") ;;
    esac
  done
  prepare
  trap stop_all EXIT
  trap 'exit 130' INT TERM HUP PIPE
  start_servers
  for rep in $(seq "$REPS"); do
    for row in "${rows[@]}"; do
      if [ "$row" = flush ]; then
        flush_us >>"$DIR/flush_us"
        continue
      fi
      order=$(ids_of "$row")
      # Every other repetition goes the other way round.
      if [ $((rep % 2)) = 0 ]; then order=$(echo "$order" | tr ' ' '\n' | tac | tr '\n' ' '); fi
      for id in $order; do
        [ -n "${pid[$id]:-}" ] || continue
        say "repetition $rep of $REPS: $(title_of "$row"): $id"
        kill -CONT "${pid[$id]}"
        sleep 0.15
        measure "$row" "$id" "$rep" "$DIR/runs/$row.$id.$rep"
        kill -STOP "${pid[$id]}"
      done
    done
  done
  machine
  table "${rows[@]}"
  disturbances
  verdicts "${rows[@]}"
}

main
