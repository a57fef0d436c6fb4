#!/usr/bin/env python3
"""What an element of each type takes of memory, packed and in large collections.

    bench/memory.py --server target/release/cairn --server valkey-server [--elements 1000000]

Each server is started anew for each row, and filled; shown is what `used_memory` and the resident memory of the process have grown by, in bytes an element (packed: keys of 10
elements each, what the key takes included; large: one key). Elements are of about 16 bytes.
"""

import argparse, re, socket, time
from servers import fill, running

TYPES = {
    "string": lambda key, some: [f"SET {key}:{i} value:{i:010}" for i in some],
    "list": lambda key, some: [f"RPUSH {key} " + " ".join(f"element:{i:08}" for i in some)],
    "set": lambda key, some: [f"SADD {key} " + " ".join(f"member:{i:09}" for i in some)],
    "hash": lambda key, some: [f"HSET {key} " + " ".join(f"f:{i:06} v:{i:06}" for i in some)],
    "zset": lambda key, some: [f"ZADD {key} " + " ".join(f"{i} member:{i:09}" for i in some)],
    "stream": lambda key, some: [f"XADD {key} {i + 1}-0 f v:{i:08}" for i in some],
}


def lines(kind, elements, is_packed):
    step = 10 if is_packed else 100
    for at in range(0, elements, step):
        yield from TYPES[kind](f"key:{at}" if is_packed else "key", range(at, min(at + step, elements)))


def figures(port, pid):
    with socket.create_connection(("127.0.0.1", port)) as sock:
        sock.sendall(b"INFO memory\r\n")
        text = b""
        while b"\r\n\r\n" not in text and not text.endswith(b"\r\n\r\n"):
            text += sock.recv(65536)
            if re.search(rb"used_memory:(\d+)", text):
                break
    used = int(re.search(rb"used_memory:(\d+)", text).group(1))
    resident = int(re.search(r"VmRSS:\s+(\d+)", open(f"/proc/{pid}/status").read()).group(1)) * 1024
    return used, resident


def measure(server, kind, is_packed, args):
    with running(server, args.port, args.dir, core=None) as process:
        time.sleep(0.3)
        before = figures(args.port, process.pid)
        fill(args.port, lines(kind, args.elements, is_packed))
        time.sleep(1)
        after = figures(args.port, process.pid)
        return [(a - b) / args.elements for a, b in zip(after, before)]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--server", action="append", required=True)
    parser.add_argument("--elements", type=int, default=1_000_000)
    parser.add_argument("--port", type=int, default=7893)
    parser.add_argument("--dir", default=None, help="where data directories are made")
    args = parser.parse_args()
    print("bytes an element: used_memory, resident | " + " | ".join(args.server) + " | used, first / last", flush=True)
    for kind in TYPES:
        for is_packed in [False] if kind == "string" else [True, False]:
            found = [measure(server, kind, is_packed, args) for server in args.server]
            cells = " | ".join(f"{used:.1f}, {resident:.1f}" for used, resident in found)
            form = "" if kind == "string" else ", packed" if is_packed else ", large"
            print(f"| {kind}{form} | {cells} | {found[0][0] / found[-1][0]:.2f} |", flush=True)


if __name__ == "__main__":
    main()
