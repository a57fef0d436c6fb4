#!/usr/bin/env python3
"""What a command of each family costs: CPU time of the server per request, Cairn (durable) beside others without persistence.

    bench/families.py --cairn target/release/cairn [--redis redis-server] [--redis valkey-server] [--reps 3] [--requests 200000]

Each server runs alone on core 0, redis-benchmark on core 1: 50 clients, pipeline 16, keys and members at random from 100,000. Servers alternate within each
repetition; the medians are shown, and Cairn's ratio to the best of the others. CPU time is that of the process and of what the kernel does for it
(utime + stime of /proc/PID/stat); it holds still on a noisy machine, rates do not.

The commands of a family are all on one collection, so those that follow each other are done together (docs/decisions/0040-runs.md). With --apart each is on
one of --keys collections, at random: none are.
"""

import argparse, os, re, statistics, subprocess, time
from servers import running

FAMILIES = [
    # name, words, what makes the data first
    ("SET", "SET key:__rand_int__ xxx", None),
    ("GET", "GET key:__rand_int__", "SET key:__rand_int__ xxx"),
    ("LPUSH", "LPUSH mylist xxx", None),
    ("RPOP", "RPOP mylist", "LPUSH mylist xxx"),
    ("LRANGE_100", "LRANGE short 0 99", "LPUSH short xxx"),
    ("SADD", "SADD myset member:__rand_int__", None),
    ("SPOP", "SPOP myset", "SADD myset member:__rand_int__"),
    ("HSET", "HSET myhash field:__rand_int__ xxx", None),
    ("ZADD", "ZADD myzset __rand_int__ member:__rand_int__", None),
    ("ZPOPMIN", "ZPOPMIN myzset", "ZADD myzset __rand_int__ member:__rand_int__"),
    ("ZRANGE", "ZRANGE myzset 0 9", "ZADD myzset __rand_int__ member:__rand_int__"),
    ("XADD", "XADD mystream * field value", None),
    ("MSET of 10", "MSET " + " ".join(f"key:__rand_int__:{i} xxx" for i in range(10)), None),
    ("EVAL", "EVAL return(redis.call('incr',KEYS[1])) 1 counter:__rand_int__", None),
]


def cpu_seconds(pid):
    fields = open(f"/proc/{pid}/stat").read().rsplit(") ", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def load(port, words, requests, keys, apart=False):
    if apart:
        words = re.sub(r"\b(my[a-z]+|short)\b", r"\1:__rand_int__", words)
    subprocess.run(
        ["taskset", "-c", "1", "redis-benchmark", "-p", str(port), "-c", "50", "-P", "16", "-q", "-r", str(keys), "-n", str(requests)]
        + words.split(" "),
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def measure(server, words, first, args):
    with running(server, args.port, args.dir) as process:
        if first:
            count = args.requests if "POP" in words else 100 if "short" in first else args.requests // 2
            load(args.port, first, count, args.keys, args.apart)
        before = cpu_seconds(process.pid)
        begin = time.monotonic()
        load(args.port, words, args.requests, args.keys, args.apart)
        seconds = time.monotonic() - begin
        return (cpu_seconds(process.pid) - before) / args.requests * 1e6, args.requests / seconds


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cairn", required=True, help="the binary")
    parser.add_argument("--redis", action="append", default=[], help="another server, as often as there are some")
    parser.add_argument("--reps", type=int, default=3)
    parser.add_argument("--requests", type=int, default=200_000)
    parser.add_argument("--keys", type=int, default=100_000)
    parser.add_argument("--apart", action="store_true", help="commands are on many collections, not on one")
    parser.add_argument("--port", type=int, default=7980)
    parser.add_argument("--dir", default=".", help="on a disk, not in memory")
    parser.add_argument("--only", action="append", help="names of families")
    args = parser.parse_args()
    servers = [args.cairn] + (args.redis or ["redis-server"])
    print("us of CPU per request, requests/s | " + " | ".join(servers) + " | ratio to the best of the others")
    for name, words, first in FAMILIES:
        if args.only and name not in args.only:
            continue
        seen = {server: [] for server in servers}
        for _ in range(args.reps):
            for server in servers:
                seen[server].append(measure(server, words, first, args))
        cpu = {server: statistics.median(cost for cost, _ in seen[server]) for server in servers}
        rate = {server: statistics.median(rate for _, rate in seen[server]) for server in servers}
        best = min(cpu[server] for server in servers[1:])
        cells = [f"{cpu[server]:.2f}, {rate[server]:,.0f}" for server in servers]
        print(f"| {name} | " + " | ".join(cells) + f" | {cpu[args.cairn] / best:.2f} |", flush=True)


if __name__ == "__main__":
    main()
