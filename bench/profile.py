#!/usr/bin/env python3
"""Where the CPU of a command goes, by part: `perf` on the server's core for each family of bench/families.py. Prints Markdown.

    bench/profile.py --cairn target/release/cairn [--only LPUSH] [--seconds 1.5]

The server (durable, one shard) is on core 0, redis-benchmark on core 1, as there. What the kernel does is told by the calls that lead to it, what the server does by the
function that runs (with all that is inlined into it). Shares are of the server's CPU time; with it per request from bench/families.py they are times.
"""

import argparse, collections, os, re, subprocess, sys, tempfile, time
from families import FAMILIES, load
from servers import running

# The first that fits any frame of the kernel's part of the stack.
KERNEL = [
    ("send", r"tcp_sendmsg|io_send|__sys_sendto|tcp_push"),
    ("receive", r"tcp_recvmsg|io_recv|sock_recvmsg"),
    ("log writes", r"ext4|iomap|blk_|submit_bio|virtio|virtqueue|nvme|dio_|io_write|vfs_fsync|__x64_sys_fallocate"),
    ("send", r"tcp_|net_rx|__netif|ip_rcv|softirq"),
    ("ring and scheduler", r"."),
]
# The first that fits the running function.
USER = [
    ("Lua", r"^lua|^luaV|^luaH|^luaD|^luaC|^luaL|^luaS|mlua|script::"),
    ("memory: allocate, copy, compare", r"malloc|free|realloc|mi_|alloc|memcpy|memmove|memset|memcmp|bcmp|__rust_|drop_in_place"),
    ("tree and rows", r"cairn_storage::(tree|counted|page|pool|row|extent|engine)"),
    ("log", r"cairn_storage::(log|checksum|blob)|crc32c|rkyv"),
    ("checkpoints", r"cairn_storage::pagefile"),
    ("protocol", r"cairn_core::(resp|query|session|ack)"),
    ("commands", r"cairn_core::(command|collection|shard|number|hot|notify|unstable|rdb|glob|tx)|xxh3"),
    ("machine", r"cairn_core"),
    ("worker, others", r"."),
]
PARTS = ["send", "receive", "log writes", "ring and scheduler", "worker, others", "protocol", "machine", "commands", "tree and rows", "log", "checkpoints",
         "memory: allocate, copy, compare", "Lua"]


def part_of(stack):
    """The part that a sample is of: its frames, innermost first, each (symbol, whether it is the kernel's)."""
    kernel = [symbol for symbol, is_kernel in stack if is_kernel]
    if kernel and stack[0][1]:
        return next(part for part, fits in KERNEL if any(re.search(fits, symbol) for symbol in kernel))
    return next(part for part, fits in USER if re.search(fits, stack[0][0]))


def samples(data):
    """The stacks of a recording."""
    text = subprocess.run(["perf", "script", "--no-inline", "-F", "ip,sym,dso", "-i", data], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True).stdout
    for block in text.split("\n\n"):
        frames = [re.match(r"\s*[0-9a-f]+ (.*) \((.*)\)$", line) for line in block.splitlines()]
        stack = [(frame[1], "kernel" in frame[2] or frame[2].startswith("[")) for frame in frames if frame]
        if stack:
            yield stack


def profile(words, first, args):
    with running(args.cairn, args.port, args.dir) as process, tempfile.TemporaryDirectory(dir=args.dir) as temporary:
        if first:
            # What is popped has to last.
            count, keys = (4_000_000, 4_000_000) if "POP" in words else (100 if "short" in first else args.keys, args.keys)
            load(args.port, first, count, keys)
        loading = subprocess.Popen([sys.executable, "-c", f"import sys; sys.path.insert(0, {os.path.dirname(os.path.abspath(__file__))!r}); "
                                    f"import families; families.load({args.port}, {words!r}, 100_000_000, {args.keys})"],
                                   stderr=subprocess.DEVNULL, start_new_session=True)
        time.sleep(0.5)
        data = os.path.join(temporary, "perf.data")
        subprocess.run(["perf", "record", "-q", "-g", "-F", "2999", "-p", str(process.pid), "-o", data, "--", "sleep", str(args.seconds)],
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        os.killpg(loading.pid, 15)
        loading.wait()
        return collections.Counter(map(part_of, samples(data)))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cairn", required=True, help="the binary, with its symbols")
    parser.add_argument("--only", action="append", help="names of families")
    parser.add_argument("--seconds", type=float, default=1.5)
    parser.add_argument("--keys", type=int, default=100_000)
    parser.add_argument("--port", type=int, default=7981)
    parser.add_argument("--dir", default=".", help="on a disk, not in memory")
    args = parser.parse_args()
    print("| % of the CPU | " + " | ".join(PARTS) + " |\n| --- |" + " ---: |" * len(PARTS))
    for name, words, first in FAMILIES:
        if args.only and name not in args.only:
            continue
        counts = profile(words, first, args)
        total = max(1, sum(counts.values()))
        print(f"| {name} | " + " | ".join(f"{100 * counts[part] / total:.0f}" for part in PARTS) + " |", flush=True)


if __name__ == "__main__":
    main()
