#!/usr/bin/env python3
"""How long others wait while one client asks for something long.

    bench/stalls.py --server target/release/cairn [--server redis-server] [--elements 1000000] [--seconds 3]

Each server runs alone on core 0; `--shards N` gives one that is named cairn so many. For each long command one client sends it again and again (a process of its own, which throws the reply away), while another one
sends GET and waits for the reply: the longest and the 99th percentile of those waits are shown, in milliseconds, beside those of an idle server.
A server whose name holds `cairn` is durable, the others have no persistence. Of two shards the first one has the keys `set`, `numbers` and `to`, the second one `zset`,
`other`, `list` and `stored`: so what stores sets and sorted sets has its keys on both.
"""

import argparse, os, socket, subprocess, sys, time
from servers import fill, running

# Nothing is sent: the fields of a hash are past their time all at once, if the server knows that.
EXPIRES = "-"

LONG = [
    ("LRANGE 0 -1", "LRANGE list 0 -1"),
    ("SMEMBERS", "SMEMBERS set"),
    ("HGETALL", "HGETALL hash"),
    ("ZRANGE 0 -1 WITHSCORES", "ZRANGE zset 0 -1 WITHSCORES"),
    ("XRANGE - +", "XRANGE stream - +"),
    ("KEYS *", "KEYS *"),
    ("SUNION of two", "SUNION set other"),
    ("SINTER of two", "SINTER set other"),
    ("ZUNION of two WITHSCORES", "ZUNION 2 zset set WITHSCORES"),
    ("SUNIONSTORE of two", "SUNIONSTORE stored set other"),
    ("ZUNIONSTORE of two", "ZUNIONSTORE stored 2 zset set"),
    ("ZRANGESTORE", "ZRANGESTORE stored zset 0 -1"),
    ("GEOSEARCHSTORE of all", "GEOSEARCHSTORE stored zset FROMLONLAT -179.9 -85 BYRADIUS 200 km"),
    ("SORT STORE", "SORT numbers STORE stored"),
    ("COPY of a sorted set", "COPY zset stored REPLACE"),
    ("ZRANGESTORE from another shard", "ZRANGESTORE to zset 0 -1"),
    ("GEOSEARCHSTORE from another shard", "GEOSEARCHSTORE to zset FROMLONLAT -179.9 -85 BYRADIUS 200 km"),
    ("COPY to another shard", "COPY zset to REPLACE"),
    ("RENAME to another shard", "RENAME {zset} to"),
    ("LREM of nothing", "LREM list 0 nothing"),
    ("LINSERT beside nothing", "LINSERT list BEFORE nothing x"),
    ("SORT", "SORT numbers"),
    ("SORT ALPHA LIMIT 0 10", "SORT list ALPHA LIMIT 0 10"),
    ("SORT BY a key GET a key", "SORT numbers BY key:* ALPHA GET key:*"),
    ("SORT BY a key STORE", "SORT numbers BY key:* ALPHA STORE stored"),
    ("GEOSEARCH of all, nearest first", "GEOSEARCH zset FROMLONLAT -179.9 -85 BYRADIUS 200 km ASC"),
    ("HRANDFIELD of a half, some expire", "HRANDFIELD expiring HALF"),
    ("HRANDFIELD of as many, any, some expire", "HRANDFIELD expiring -HALF"),
    ("SRANDMEMBER of a half", "SRANDMEMBER set HALF"),
    ("SRANDMEMBER of as many, any", "SRANDMEMBER set -HALF"),
    ("LTRIM to 100", "LTRIM {list} 0 99"),
    ("LTRIM to a half", "LTRIM {list} HALF -1"),
    ("LPOP of a half", "LPOP {list} HALF"),
    ("ZREMRANGEBYRANK to 100", "ZREMRANGEBYRANK {zset} 0 -101"),
    ("ZREMRANGEBYSCORE of a half", "ZREMRANGEBYSCORE {zset} -inf HALF"),
    ("ZREMRANGEBYRANK of a tenth", "ZREMRANGEBYRANK {zset} 0 TENTH"),
    ("ZPOPMIN of a half", "ZPOPMIN {zset} HALF"),
    ("SPOP of a half", "SPOP {set} HALF"),
    ("a sorted set expires", "PEXPIRE {zset} 300"),
    ("all fields of a hash expire", EXPIRES),
]

# Copies of a collection, `{name}` above, that are made before its command is sent, once for each: on the same shard.
COPIES = 3

DRAIN = """
import socket, sys, time
sock = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
lines = sys.argv[3:]
end = time.monotonic() + float(sys.argv[2])
while lines and time.monotonic() < end:
    line = lines[0]
    lines = lines[1:] or [line][: len(sys.argv) == 4]
    sock.sendall((line + "\\r\\nECHO the-end-of-it\\r\\n").encode())
    tail = b""
    while not tail.endswith(b"the-end-of-it\\r\\n"):
        tail = (tail + sock.recv(1 << 20))[-64:]
"""


def ask(sock, *words):
    sock.sendall(b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(w), w) for w in (str(w).encode() for w in words)))
    return sock.recv(65536)


def lines(elements):
    """Collections of so many elements, and as many keys."""
    for at in range(0, elements, 100):
        some = range(at, min(at + 100, elements))
        yield "RPUSH list " + " ".join(f"element:{i}" for i in some)
        yield "SADD set " + " ".join(f"member:{i}" for i in some)
        yield "HSET hash " + " ".join(f"field:{i} value" for i in some)
        yield "ZADD zset " + " ".join(f"{i} member:{i}" for i in some)
        yield "SADD other " + " ".join(f"member:{i + elements // 2}" for i in some)
        yield "RPUSH numbers " + " ".join(str(i * 7919 % elements) for i in some)
        yield "MSET " + " ".join(f"key:{i} value" for i in some)
        yield "HSET expiring " + " ".join(f"field:{i} value" for i in some)
        yield from (f"XADD stream {i + 1}-0 field value" for i in some)


def waits(port, seconds):
    """Milliseconds that each of many GETs took."""
    with socket.create_connection(("127.0.0.1", port)) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        end, took = time.monotonic() + seconds, []
        while time.monotonic() < end:
            begun = time.monotonic()
            ask(sock, "GET", "key:1")
            took.append((time.monotonic() - begun) * 1000)
            time.sleep(0.0005)
    return sorted(took)


def chosen(args):
    return [(name, line) for name, line in LONG if not args.only or any(part in name for part in args.only)]


def prepared(line, args):
    """The lines that are sent for a long command, whose copies are there by then."""
    line = line.replace("HALF", str(args.elements // 2)).replace("TENTH", str(args.elements // 10))
    if line == EXPIRES:
        fields_expire(args)
        return []
    if "{" not in line:
        return [line]
    name = line[line.index("{") + 1 : line.index("}")]
    with socket.create_connection(("127.0.0.1", args.port)) as sock:
        for at in range(COPIES):
            ask(sock, "COPY", name, f"{{{name}}}:copy:{at}", "REPLACE")
    # What was there before is removed, and a checkpoint made.
    time.sleep(2)
    return [line.replace(f"{{{name}}}", f"{{{name}}}:copy:{at}") for at in range(COPIES)]


def fields_expire(args):
    """A hash of so many fields whose time is over half a second from the end of this on."""
    due = time.time() + 10 + args.elements / 30_000
    fill(args.port, hash_lines("due", args.elements, int(due * 1000)))
    time.sleep(max(due - time.time() - 0.5, 0))


def hash_lines(key, elements, due_ms):
    """Some fields at a time, and when they expire."""
    for at in range(0, elements, 100):
        some = [f"field:{i}" for i in range(at, min(at + 100, elements))]
        yield f"HSET {key} " + " ".join(f"{field} value" for field in some)
        yield f"HPEXPIREAT {key} {due_ms} FIELDS {len(some)} " + " ".join(some)


def measure(server, args):
    os.sched_setaffinity(0, {1})
    with running(server, args.port, args.dir, shards=args.shards):
        fill(args.port, lines(args.elements))
        with socket.create_connection(("127.0.0.1", args.port)) as sock:
            expires = ask(sock, *"HPEXPIRE expiring 1000000000 FIELDS 1 field:0".split()).startswith(b"*")
        time.sleep(1)
        found = {"nothing": waits(args.port, args.seconds)}
        for name, line in chosen(args):
            if line == EXPIRES and not expires:
                continue
            lines_sent = prepared(line, args)
            drain = subprocess.Popen([sys.executable, "-c", DRAIN, str(args.port), str(args.seconds), *lines_sent])
            found[name] = waits(args.port, args.seconds)
            drain.wait()
    return found


def shown(took):
    return f"{took[-1]:.2f}, {took[int(len(took) * 0.99)]:.2f}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--server", action="append", required=True)
    parser.add_argument("--elements", type=int, default=1_000_000)
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--shards", type=int, default=1)
    parser.add_argument("--only", action="append", help="rows whose names hold this; may be said again")
    parser.add_argument("--port", type=int, default=7891)
    parser.add_argument("--dir", default=None, help="where data directories are made")
    args = parser.parse_args()
    results = [measure(server, args) for server in args.server]
    print(f"longest wait, p99 in ms beside, {args.elements} elements | " + " | ".join(args.server))
    for name in ["nothing"] + [name for name, _ in chosen(args)]:
        cells = [shown(found[name]) if name in found else "-" for found in results]
        print(f"| {name} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
