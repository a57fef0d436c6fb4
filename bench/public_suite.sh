#!/usr/bin/env bash
# Redis's public test suite against Cairn.
#
#   bench/public_suite.sh SUITE                      all units that apply, on one shard
#   SHARDS=2 bench/public_suite.sh SUITE             on two; the suite then leaves out tests whose keys are in several slots
#   bench/public_suite.sh SUITE unit/type/hash ...   these units
#
# SUITE is a checkout of the Redis repository (7.2) with tests/ and runtest; it is not part of this one. Needs tclsh, and redis-cli
# and redis-benchmark in SUITE/src or PATH. Prints Markdown for docs/COMPATIBILITY.md on stdout: a row per unit with the tests that
# passed, that failed, that are excepted and that the suite left out, and the names of those that failed. Ends with 1 if one failed.
# What each unit said is in DIR/UNIT.log.
#
# Each unit has a server of its own with an empty directory, and the suite is told that it is external. Units of which that would leave
# out most have the suite start its servers itself (OWN below): SUITE/src/redis-server becomes a script that starts Cairn.
#
# public_suite_exceptions.txt has the tests that are not run, `unit <tab> name <tab> reason` a line, with ` 2` behind the unit those that are not
# run on several shards: what fails in the midst of a test spoils those behind it. With ` run` or ` 2 run` behind the unit they are run and may fail:
# those behind them need what they begin with. STALE=1 runs them all the same, and names those that pass on stderr.
#
#   CAIRN    the binary; default: built here with `cargo build --release`
#   SHARDS   shards of each server (1)
#   TAGS     what the suite is told to leave out besides (`-needs:repl`)
#   PORT     of the servers (7970); the suite itself uses the eight behind it
#   DIR      data and logs; must be on a real disk (target/public_suite)
#   WAIT     seconds for a unit (900)
# shellcheck source=bench/lib.sh
. "$(dirname "$0")/lib.sh"

SHARDS=${SHARDS:-1}
TAGS=${TAGS:--needs:repl}
DIR=${DIR:-$here/target/public_suite}
WAIT=${WAIT:-900}
STALE=${STALE:-}
exceptions=$here/bench/public_suite_exceptions.txt

# Not here: units about replicas, clusters, modules, TLS, RDB and AOF files, eviction, the allocator, and parameters that are fixed at the start.
UNITS="unit/printver unit/dump unit/auth unit/protocol unit/keyspace unit/scan unit/info unit/info-command
  unit/type/string unit/type/incr unit/type/list unit/type/list-2 unit/type/list-3 unit/type/set unit/type/zset
  unit/type/hash unit/type/stream unit/type/stream-cgroups unit/sort unit/expire unit/other unit/multi unit/quit
  unit/acl unit/acl-v2 unit/latency-monitor unit/pubsub unit/pubsubshard unit/slowlog unit/scripting unit/functions
  unit/introspection unit/introspection-2 unit/limits unit/obuf-limits unit/bitops unit/bitfield unit/geo
  unit/hyperloglog unit/lazyfree unit/wait unit/pause unit/querybuf unit/tracking unit/violations"
OWN=" unit/auth unit/acl unit/acl-v2 unit/info unit/limits unit/obuf-limits unit/querybuf "

# What the servers are started with.
FLAGS=(--memory 512mb --metrics-addr off --enable-debug-command yes --enable-protected-configs yes)

# Starts a server with an empty directory; its process is in `server`.
start() {
  rm -rf "$DIR/data"
  mkdir -p "$DIR/data"
  "$CAIRN" serve --port "$PORT" --dir "$DIR/data" --shards "$SHARDS" "${FLAGS[@]}" --logfile "$DIR/$1.server" >/dev/null 2>&1 &
  server=$!
  await "$PORT" "$server" 100 "$DIR/$1.server" || die "the server did not start: $DIR/$1.server"
}

# What the suite takes for a redis-server: it looks for its process's id and for two sentences in the output.
write_starter() {
  cat >"$suite/src/redis-server" <<STARTER
#!/usr/bin/env bash
if [ ! -f "\$1" ]; then exec "$CAIRN" serve "\$@"; fi
conf=\$1; shift
read_of() { awk -v name="\$1" '\$1 == name { print \$2 }' "\$conf"; }
sed -i "s#^aclfile \([^/]\)#aclfile \$(read_of dir)/\1#" "\$conf"
echo " PID: \$\$ Server initialized"
port=\$(read_of port)
(for _ in \$(seq 200); do
  redis-cli -p "\$port" ping >/dev/null 2>&1 && { echo "Ready to accept connections"; break; }
  sleep 0.05
done) &
exec "$CAIRN" serve "\$conf" --shards "$SHARDS" ${FLAGS[*]} "\$@"
STARTER
  chmod +x "$suite/src/redis-server"
}

# The tests of a unit that are not run; with `run` also those that may fail.
excepted() {
  awk -F'\t' -v unit="$1" -v shards="$SHARDS" -v run="${2:-}" '
    $1 == unit || shards > 1 && $1 == unit " 2" || run && ($1 == unit " run" || shards > 1 && $1 == unit " 2 run") { print $2 }' "$exceptions"
}

# The suite's own words for one unit.
run() {
  local mode=() skipped="$DIR/skipped"
  if [[ $OWN == *" $1 "* ]]; then
    mode=(--clients 1 --baseport "$((PORT + 1))" --portcount 8)
  else
    mode=(--host 127.0.0.1 --port "$PORT" --baseport "$((PORT + 1000))")
    if [ "$SHARDS" -gt 1 ]; then mode+=(--cluster-mode); fi
  fi
  : >"$skipped"
  if [ -z "$STALE" ]; then excepted "$1" >"$skipped"; fi
  (cd "$suite" && TERM=dumb timeout "$WAIT" ./runtest "${mode[@]}" --single "$1" --durable \
    --skipfile "$skipped" --tags "$TAGS" --timeout 120 </dev/null)
}

# One row from a unit's log; names of failures that are not excepted go to `$DIR/failed`.
row() {
  awk -v unit="$1" -v failed="$DIR/failed" '
    FILENAME == ARGV[1] { excepted[$0] = 1; next }
    /^\[ok\]: /     { name = $0; sub(/^\[ok\]: /, "", name); sub(/ \([0-9]+ ms\)$/, "", name); passed++; good[name] = 1 }
    /^\[err\]: /    { name = $0; sub(/^\[err\]: /, "", name); sub(/ in tests\/[^ ]*\.tcl$/, "", name)
                      if (name in excepted) { allowed++; bad[name] = 1 }
                      else { wrong++; names = names (names ? "; " : "") name; print unit "\t" name >> failed } }
    /^\[ignore\]: / { ignored++ }
    /^\[skip\]: /   { allowed++ }
    /^\[[0-9]+\/[0-9]+ done\]: / { done = 1 }
    END {
      for (name in excepted) if (name in good && !(name in bad)) print unit ": passes and is excepted: " name > "/dev/stderr"
      if (!done) { names = names (names ? "; " : "") "(the unit did not end)"; print unit "\t(the unit did not end)" >> failed }
      gsub(/\|/, "\\|", names)
      printf "| `%s` | %d | %d | %d | %d | %s |\n", unit, passed, wrong, allowed, ignored, names
    }' <(excepted "$1" run) "$DIR/$2.log"
}

main() {
  [ $# -ge 1 ] || die "which checkout of the suite? See the head of this script"
  suite=$(cd "$1" && pwd)
  shift
  [ -x "$suite/runtest" ] || die "$suite has no runtest"
  build_cairn
  CAIRN=$(realpath "$CAIRN")
  mkdir -p "$DIR" "$suite/src"
  need_disk "$DIR" "every write is synced"
  DIR=$(cd "$DIR" && pwd)
  : >"$DIR/failed"
  local tool unit name
  for tool in redis-cli redis-benchmark; do
    [ -e "$suite/src/$tool" ] || ln -s "$(command -v "$tool")" "$suite/src/$tool"
  done
  write_starter
  if [ $# -eq 0 ]; then eval "set -- $(tr '\n' ' ' <<<"$UNITS")"; fi
  echo "| unit | passed | failed | excepted | left out | failures |"
  echo "| --- | --- | --- | --- | --- | --- |"
  for unit in "$@"; do
    name=${unit//\//-}
    if [[ $OWN == *" $unit "* ]]; then
      run "$unit" >"$DIR/$name.log" 2>&1 || true
    else
      start "$name"
      run "$unit" >"$DIR/$name.log" 2>&1 || true
      end "$server"
    fi
    row "$unit" "$name"
  done
  [ ! -s "$DIR/failed" ]
}

main "$@"
