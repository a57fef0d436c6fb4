#!/usr/bin/env bash
# Runs everything that people use Redis with and that PyPI, npm and Debian have, against servers of one and of two shards:
# all.sh [BINARY [CLIENT...]]. What fails is shown with its output; docs/COMPATIBILITY.md has the table.
set -euo pipefail
. "$(dirname "$0")/serve.sh"
wanted=${*:2}

redis_benchmark() { # all tests of it, as people call it
    local option out
    for option in "" "-P 16" "--threads 2 -c 50" "-r 10000 -d 1024 -3"; do
        out=$(timeout 300 redis-benchmark -p "$port" -q -n 1000 $option 2>&1) || { echo "redis-benchmark $option: status $?"; return 1; }
        ! grep -iE 'error|warning' <<<"$out" || return 1
        [ "$(tr '\r' '\n' <<<"$out" | grep -c 'requests per second')" = 20 ] || { echo "$option: not 20 tests: $out"; return 1; }
    done
    echo "$(redis-benchmark --version): works"
}

memtier() {
    if ! command -v memtier_benchmark >/dev/null; then
        echo "SKIPPED memtier_benchmark: Debian 12 does not have it"
        return
    fi
    for protocol in redis resp2 resp3; do
        timeout 300 memtier_benchmark -p "$port" -P $protocol -n 1000 -c 10 -t 2 --ratio 1:1 --hide-histogram >"$work/out" 2>&1 ||
            { tail -n 5 "$work/out"; return 1; }
    done
    echo "$(memtier_benchmark --version | head -n 1): works"
}

failed=0
check() { # the client's name, how to run it
    [ -z "$wanted" ] || [[ " $wanted " == *" $1 "* ]] || return 0
    if "${@:2}" >"$work/said" 2>&1; then
        tail -n 1 "$work/said"
    else
        failed=1
        echo "$1: FAILED"
        tail -n 30 "$work/said"
    fi
}

for shards in 1 2; do
    serve --shards $shards
    echo "== $shards shard(s)"
    check redis-cli tests/clients/redis_cli.sh "$port"
    check redis-benchmark redis_benchmark
    check memtier_benchmark memtier
    check handshake python3 tests/clients/handshake.py "$port"
    check redis-py python_client redis redis_py.py redis
    check redis-py-deep python_client redis redis_py_deep.py redis
    check django-redis python_client django django_redis_cache.py django-redis
    check redis-om python_client om redis_om_models.py redis-om
    check RQ python_client rq rq_jobs.py rq
    check Celery python_client celery celery_tasks.py 'celery[redis]'
    check ioredis node_client ioredis ioredis.js ioredis
    check node-redis node_client redis node_redis.js redis
    check BullMQ node_client bullmq bullmq.js bullmq ioredis
    stop
done
exit $failed
