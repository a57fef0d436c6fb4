#!/usr/bin/env bash
# Runs the client libraries that people use against a server: run.sh [BINARY].
# The libraries come from their registries, into target/; where that is not possible, SKIPPED and why.
set -euo pipefail
cd "$(dirname "$0")/../.."
binary=$(realpath "${1:-target/debug/cairn}")
work=target/clients
mkdir -p "$work"

port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
data=$(mktemp -d "$work/data.XXXXXX")
"$binary" serve --port "$port" --dir "$data/d" --metrics-addr off >"$data/log" 2>&1 &
server=$!
trap 'kill $server 2>/dev/null || true; wait $server 2>/dev/null || true; rm -rf "$data"' EXIT
for _ in $(seq 200); do
    grep -q "Ready to accept connections" "$data/log" && break
    kill -0 $server 2>/dev/null || { cat "$data/log"; exit 1; }
    sleep 0.05
done

if python3 -m venv "$work/venv" >"$data/pip" 2>&1 && "$work/venv/bin/pip" install -q redis >>"$data/pip" 2>&1; then
    "$work/venv/bin/python" tests/clients/redis_py.py "$port"
else
    echo "SKIPPED redis-py: $(tail -n 1 "$data/pip")"
fi

if command -v npm >/dev/null && npm install --silent --no-save --no-audit --no-fund --prefix "$work/node" ioredis >"$data/npm" 2>&1; then
    NODE_PATH="$work/node/node_modules" node tests/clients/ioredis.js "$port"
else
    echo "SKIPPED ioredis: $(tail -n 1 "$data/npm" 2>/dev/null || echo npm is missing)"
fi
