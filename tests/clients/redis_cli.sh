#!/usr/bin/env bash
# redis-cli's modes: redis_cli.sh PORT. Each has to end well and to say what it says of Redis.
set -euo pipefail
port=$1
cli() { timeout 60 redis-cli -p "$port" "$@"; }

cli_fails() { ! cli "$@"; }

for_a_while() { timeout -s INT 3 stdbuf -oL redis-cli -p "$port" "$@" || true; }

expect() { # what the output has to have, the command
    local pattern=$1 out
    shift
    out=$("$@" 2>&1) || { echo "redis-cli ${*:2}: status $?: $out" | tail -n 5; exit 1; }
    grep -qE -- "$pattern" <<<"$out" || { echo "redis-cli ${*:2}: no '$pattern' in: $(tail -n 20 <<<"$out")"; exit 1; }
}

expect OK cli flushall
expect 'errors: 0, replies: 20000$' cli --pipe < <(for n in $(seq 20000); do printf 'SET pipe:%d %d\r\n' "$n" "$n"; done)
expect '^20000$' cli dbsize
cli rpush list $(seq 300) >/dev/null
cli hset hash $(seq 300) >/dev/null
cli sadd set $(seq 300) >/dev/null
cli zadd zset $(seq 300) >/dev/null
cli hset csv a 1 >/dev/null
cli xadd stream '*' a 1 >/dev/null

expect 'Biggest +list found .*list.* has 300 items' cli --bigkeys
expect '2 hashs with 151 fields' cli --bigkeys
expect '1 streams with 1 entries' cli --bigkeys
expect '1 zsets with 150 members' cli --bigkeys
expect 'Biggest +hash found .*hash.* has [1-9][0-9]* bytes' cli --memkeys
expect 'Biggest +list found .*list.* has [1-9][0-9]* bytes' cli --memkeys --memkeys-samples 0
expect '^hash$' cli --scan --pattern 'h*'
[ "$(cli --scan --pattern 'pipe:*' | sort -u | wc -l)" = 20000 ] || { echo "--scan: not 20000 keys"; exit 1; }
# Redis says this too, unless it evicts by frequency.
expect 'LFU maxmemory policy' cli_fails --hotkeys
expect '[0-9]+ [0-9.]+' for_a_while --latency --raw
expect '1\.[0-9]+ seconds range' for_a_while --latency-history -i 1
expect '2000[0-9] +[0-9.]+[KMG]' for_a_while --stat
expect 'OK' cli -3 set key value
expect '1# "maxmemory-policy" => "noeviction"' cli --no-raw -3 config get maxmemory-policy
expect '"a","1"' cli --csv hgetall csv
expect '\{"a":"1"\}' cli --json hgetall csv
expect '^2$' cli --eval /dev/fd/3 key , 1 3<<<'return #KEYS + #ARGV'
expect 'PONG' cli -r 3 -i 0.01 ping
expect 'PONG' cli --user default --pass '' -n 3 ping
expect '^value$' cli -x echo <<<value
expect 'key value .*GET' cli help set
expect 'message' bash -c "(sleep 0.5; redis-cli -p $port publish channel text >/dev/null) & timeout -s INT 2 redis-cli -p $port subscribe channel || true"
expect '"set" "seen"' bash -c "(sleep 0.5; redis-cli -p $port set seen 1 >/dev/null) & timeout -s INT 2 redis-cli -p $port monitor || true"
expect 'OK' cli flushall
echo "$(redis-cli --version): works"
