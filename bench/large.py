#!/usr/bin/env python3
"""Do large collections answer like small ones? Latency of single commands on collections of 10,000 and of 10,000,000 elements.

    bench/large.py --cairn target/release/cairn [--large 10000000] [--seconds 3] [--reps 3] [--only LINSERT] [--server ANOTHER]

A server (durable if it is Cairn's, else without persistence) runs on core 0, `cairn bench` with one client at pipeline 1 on core 1. The sizes alternate; medians of the repetitions
are shown: p50 and p99 in microseconds, and the ratio of the p99s. LINSERT looks for its pivot from the head: one that is
near it, and one in the middle, different ones each time.
"""

import argparse, json, statistics, subprocess
from servers import fill, running

COMMANDS = [
    ("ZADD, a new score", "ZADD zset:{size} {int:SIZE} member:{num}"),
    ("ZSCORE", "ZSCORE zset:{size} member:{num}"),
    ("ZRANK", "ZRANK zset:{size} member:{num}"),
    ("ZRANGE by rank, 10 in the middle", "ZRANGE zset:{size} MIDDLE END"),
    ("LINDEX", "LINDEX list:{size} {int:SIZE}"),
    ("LRANGE, 10 in the middle", "LRANGE list:{size} MIDDLE END"),
    ("LSET", "LSET list:{size} {int:SIZE} new"),
    ("LINSERT near the head", "LINSERT list:{size} AFTER pivot new"),
    ("LINSERT in the middle", "LINSERT list:{size} AFTER middle:{int:1000} new"),
    ("RPUSH", "RPUSH list:{size} new"),
    ("HSET", "HSET hash:{size} field:{num} value"),
    ("SISMEMBER", "SISMEMBER set:{size} member:{num}"),
]


def element(behind_middle, at):
    if 0 <= behind_middle < 1000:
        return f"middle:{behind_middle}"
    return "pivot" if at == 50 else f"element:{at}"


def lines(size, kinds):
    for at in range(0, size, 100):
        some = range(at, min(at + 100, size))
        all = [
            f"RPUSH list:{size} " + " ".join(element(i - size // 2, i) for i in some),
            f"ZADD zset:{size} " + " ".join(f"{i} member:{i:012}" for i in some),
            f"HSET hash:{size} " + " ".join(f"field:{i:012} value" for i in some),
            f"SADD set:{size} " + " ".join(f"member:{i:012}" for i in some),
        ]
        yield from (line for line in all if line.split(":")[0].split()[1] in kinds)


def measure(args, template, size):
    command = template.replace("{size}", str(size)).replace("SIZE", str(size)).replace("MIDDLE END", f"{size // 2} {size // 2 + 9}")
    run = ["taskset", "-c", "1", args.cairn, "bench", "-p", str(args.port), "-c", "1", "-P", "1", "-d", str(args.seconds), "-w", "0.3"]
    run += ["-k", str(size), "--key-pattern", "{num}", "--command", command, "--json", "-q"]
    report = json.loads(subprocess.run(run, check=True, capture_output=True, text=True).stdout)
    return report["groups"][0]["total"]["latency_us"]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--cairn", required=True)
    parser.add_argument("--server", default=None)
    parser.add_argument("--small", type=int, default=10_000)
    parser.add_argument("--large", type=int, default=10_000_000)
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--reps", type=int, default=3)
    parser.add_argument("--port", type=int, default=7892)
    parser.add_argument("--dir", default=None, help="where data directories are made")
    parser.add_argument("--only", default="", help="commands whose name has this")
    args = parser.parse_args()
    commands = [(name, template) for name, template in COMMANDS if args.only in name]
    kinds = {template.split(":")[0].split()[1] for _, template in commands}
    with running(args.server or args.cairn, args.port, args.dir):
        fill(args.port, lines(args.small, kinds))
        fill(args.port, lines(args.large, kinds))
        print(f"p50, p99 us | {args.small} elements | {args.large} elements | p99 large / small", flush=True)
        for name, template in commands:
            found = {args.small: [], args.large: []}
            for _ in range(args.reps):
                for size, all in found.items():
                    latency = measure(args, template, size)
                    all.append((latency["p50"], latency["p99"]))
            (small, large) = ([statistics.median(column) for column in zip(*all)] for all in found.values())
            print(f"| {name} | {small[0]:.0f}, {small[1]:.0f} | {large[0]:.0f}, {large[1]:.0f} | {large[1] / small[1]:.2f} |", flush=True)


if __name__ == "__main__":
    main()
