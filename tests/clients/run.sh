#!/usr/bin/env bash
# Runs the client libraries that people use against a server: run.sh [BINARY]. `all.sh` runs more of them, for longer.
# The libraries come from their registries, into target/; where that is not possible, SKIPPED and why.
set -euo pipefail
. "$(dirname "$0")/serve.sh"
serve
python_client redis redis_py.py redis
node_client ioredis ioredis.js ioredis
