#!/usr/bin/env python3
"""Resident memory of a server while clients set and get long values at once, and the values' checksums after a kill -9.

    bench/long_values.py BINARY [--megabytes 512] [--clients 1] [--shards 1] [--memory 256mb] [--port 8100] [--dir DIR]

Prints a row of Markdown for each step: resident memory before, its peak, seconds. DIR (by default a new directory in the
current one) must be on a real disk; what is made there is removed. Ends with status 1 if a value was wrong. Linux only.
"""

import argparse
import contextlib
import hashlib
import pathlib
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time

MB = 1 << 20


def options():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("binary")
    parser.add_argument("--megabytes", type=int, default=512)
    parser.add_argument("--clients", type=int, default=1)
    parser.add_argument("--shards", default="1")
    parser.add_argument("--memory", default="256mb")
    parser.add_argument("--port", type=int, default=8100)
    parser.add_argument("--dir", default=".")
    return parser.parse_args()


OPTIONS = options()
FILL = random.Random(7).randbytes(MB)


def piece(client, index):
    """The index-th megabyte of a client's value: no two are the same."""
    return hashlib.sha1(b"%d %d" % (client, index)).digest() + FILL[20:]


def connect():
    """A connection that answers. The kernel may take one more for a process that was just killed."""
    for _ in range(3000):
        with contextlib.suppress(OSError):
            wire = socket.create_connection(("127.0.0.1", OPTIONS.port))
            replies = wire.makefile("rb", MB)
            wire.sendall(b"PING\r\n")
            if replies.readline() == b"+PONG\r\n":
                return wire, replies
        time.sleep(0.01)
    sys.exit("the server does not answer")


def set_value(client):
    wire, replies = connect()
    wire.sendall(b"*3\r\n$3\r\nSET\r\n$8\r\nlong:%03d\r\n$%d\r\n" % (client, OPTIONS.megabytes * MB))
    for index in range(OPTIONS.megabytes):
        wire.sendall(piece(client, index))
    wire.sendall(b"\r\n")
    return replies.readline() == b"+OK\r\n"


def is_right(client, replies):
    """Whether the next reply is a client's value."""
    if replies.readline() != b"$%d\r\n" % (OPTIONS.megabytes * MB):
        return False
    same = all([replies.read(MB) == piece(client, index) for index in range(OPTIONS.megabytes)])
    return replies.read(2) == b"\r\n" and same


def get_value(client):
    wire, replies = connect()
    wire.sendall(b"*2\r\n$3\r\nGET\r\n$8\r\nlong:%03d\r\n" % client)
    return is_right(client, replies)


def get_all(client):
    """The first client gets all values with one MGET."""
    if client > 0:
        return True
    wire, replies = connect()
    keys = b"".join(b"$8\r\nlong:%03d\r\n" % other for other in range(OPTIONS.clients))
    wire.sendall(b"*%d\r\n$4\r\nMGET\r\n%s" % (OPTIONS.clients + 1, keys))
    replies.readline()
    return all([is_right(other, replies) for other in range(OPTIONS.clients)])


class Server:
    def __init__(self, path):
        self.arguments = [OPTIONS.binary, "serve", "--port", str(OPTIONS.port), "--dir", f"{path}/data"]
        self.arguments += ["--shards", OPTIONS.shards, "--memory", OPTIONS.memory, "--metrics-addr", "off"]
        self.log = open(f"{path}/log", "w", encoding="utf-8")
        self.start()

    def start(self):
        self.process = subprocess.Popen(self.arguments, stdout=self.log, stderr=self.log)
        connect()

    def kill(self):
        self.process.kill()
        self.process.wait()

    def resident(self):
        for line in pathlib.Path(f"/proc/{self.process.pid}/status").read_text(encoding="utf-8").splitlines():
            if line.startswith("VmRSS"):
                return int(line.split()[1]) // 1024
        return 0


def step(name, server, work):
    """Has all clients do it at once. Whether all values were right."""
    before, peak, right, is_over = server.resident(), [0], [], threading.Event()

    def watch():
        while not is_over.wait(0.004):
            peak[0] = max(peak[0], server.resident())

    threads = [threading.Thread(target=lambda at=at: right.append(work(at))) for at in range(OPTIONS.clients)]
    watcher = threading.Thread(target=watch)
    begun = time.monotonic()
    for thread in [watcher, *threads]:
        thread.start()
    for thread in threads:
        thread.join()
    seconds = time.monotonic() - begun
    is_over.set()
    watcher.join()
    verdict = "right" if right == [True] * OPTIONS.clients else "WRONG"
    print(f"| {name} | {before} MB | {peak[0]} MB | +{peak[0] - before} MB | {seconds:.1f} s | {verdict} |", flush=True)
    return verdict == "right"


def main():
    path = tempfile.mkdtemp(dir=OPTIONS.dir)
    server = Server(path)
    try:
        print(f"{OPTIONS.clients} x {OPTIONS.megabytes} MB, --memory {OPTIONS.memory}, --shards {OPTIONS.shards}\n")
        print("| step | before | peak | | | values |\n| --- | ---: | ---: | ---: | ---: | --- |")
        oks = [step("SET", server, set_value), step("GET", server, get_value), step("SET again", server, set_value)]
        server.kill()
        server.start()
        oks.append(step("GET after kill -9", server, get_value))
        server.kill()
        server.start()
        oks.append(step("MGET of all after kill -9", server, get_all))
    finally:
        server.kill()
        shutil.rmtree(path)
    sys.exit(0 if all(oks) else 1)


main()
