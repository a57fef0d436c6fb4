# Sourced by run.sh and all.sh: a server for clients, and what the registries have of them, under target/clients.
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
binary=$(realpath "${1:-target/debug/cairn}")
work=target/clients
mkdir -p "$work"

serve() { # the options: a server of its own, `port` and `data`
    port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
    data=$(mktemp -d "$work/data.XXXXXX")
    "$binary" serve --port "$port" --dir "$data/d" --metrics-addr off "$@" >"$data/log" 2>&1 &
    server=$!
    trap stop EXIT
    for _ in $(seq 200); do
        grep -q "Ready to accept connections" "$data/log" && return
        kill -0 $server 2>/dev/null || break
        sleep 0.05
    done
    cat "$data/log"
    return 1
}

stop() {
    kill $server 2>/dev/null || true
    wait $server 2>/dev/null || true
    rm -rf "$data"
}

# The programs of a client: NAME SCRIPT PACKAGES..., each NAME with packages of its own. What cannot be installed is SKIPPED.
python_client() {
    local venv=$work/venv-$1
    if [ -e "$venv/ready" ] || { python3 -m venv "$venv" && "$venv/bin/pip" install -q "${@:3}" && touch "$venv/ready"; } >"$work/log" 2>&1; then
        PYTHONDONTWRITEBYTECODE=1 timeout 300 "$venv/bin/python" "tests/clients/$2" "$port"
    else
        echo "SKIPPED $1: $(tail -n 1 "$work/log")"
    fi
}

node_client() {
    local node=$work/node-$1
    if command -v npm >/dev/null && { [ -e "$node/ready" ] ||
        { npm install --silent --no-save --no-audit --no-fund --prefix "$node" "${@:3}" && touch "$node/ready"; }; } >"$work/log" 2>&1; then
        NODE_PATH="$node/node_modules" timeout 300 node "tests/clients/$2" "$port"
    else
        echo "SKIPPED $1: $(tail -n 1 "$work/log" 2>/dev/null || echo npm is missing)"
    fi
}
