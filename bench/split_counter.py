#!/usr/bin/env python3
"""What a counter costs the cores that add to it: INCR on one core, and ADD to a split counter on two. Prints Markdown.

    bench/split_counter.py [--cairn BIN] [--reps 5] [--seconds 3] [--pipeline 16] [--dir DIR] [--port 7980]

The clients need a core too, so on a machine with two of them two busy server cores cannot be seen. So the first rows give all shards core 0
and the clients core 1: what one core does of INCR, and what it does of ADD as the host of two shards, each of which adds to its own part. Shards
share nothing but the disk, so two cores do twice that. The other rows have a core for each shard, and the clients on the same two: what a
worker needs for a request there includes making way for them. CPU is what each worker was on a core (schedstat). Servers are
loaded in turn and stopped (SIGSTOP) meanwhile; medians. DIR must be on a disk.
"""

import argparse
import glob
import json
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time

CLIENTS = 50
# Name, what it is, shards, cores of the server, cores of the clients, command.
ROWS = [
    ('one', 'INCR, one shard on one core', 1, [0], [1], 'INCR bar'),
    ('both', 'ADD, a split counter, its two shards on one core', 2, [0], [1], 'ADD bar 1'),
    ('whole', 'INCR, two shards on two cores, clients on the same', 2, [0, 1], [0, 1], 'INCR bar'),
    ('split', 'ADD, a split counter, two shards on two cores, clients on the same', 2, [0, 1], [0, 1], 'ADD bar 1'),
    ('read', 'the same, and GET of it every 100 ms', 2, [0, 1], [0, 1], 'ADD bar 1'),
]
SPLIT = ('both', 'split', 'read')


def await_port(port, process):
    for _ in range(600):
        try:
            return socket.create_connection(('127.0.0.1', port), 5)
        except OSError:
            if process.poll() is not None:
                break
            time.sleep(0.1)
    sys.exit(f'no server answers at port {port}')


def ask(connection, *words):
    connection.sendall(' '.join(words).encode() + b'\r\n')
    return connection.recv(65536)


def cpu_us(pid):
    """Of each worker: microseconds that its threads were on a core."""
    workers = {}
    for task in glob.glob(f'/proc/{pid}/task/*'):
        with open(f'{task}/comm') as comm, open(f'{task}/schedstat') as stat:
            name = comm.read().strip()
            if name.startswith('cairn-') and name.removeprefix('cairn-')[0].isdigit():
                workers[name] = workers.get(name, 0) + int(stat.read().split()[0]) / 1000
    return workers


class Server:
    def __init__(self, args, directory, shards, cores, port):
        self.port = port
        data = os.path.join(directory, f'{shards}-{len(cores)}')
        argv = [args.cairn, 'serve', '--dir', data, '--port', str(port), '--shards', str(shards),
                '--cpus', ','.join(str(core) for core in cores), '--metrics-addr', 'off']
        with open(f'{data}.log', 'w') as log:
            self.process = subprocess.Popen(argv, stdout=log, stderr=subprocess.STDOUT)
        self.client = await_port(port, self.process)

    def prepare(self, is_split):
        ask(self.client, 'HOT', 'bar', 'DEMOTE')
        ask(self.client, 'SET', 'bar', '0')
        while is_split and b'\r\nsplit\r\n' not in ask(self.client, 'HOT', 'bar'):
            ask(self.client, 'HOT', 'bar', 'PROMOTE', '2')
            time.sleep(0.05)


def measure(args, server, row, cores, command):
    argv = [args.cairn, 'bench', '--port', str(server.port), '--pid', str(server.process.pid), '--clients', str(CLIENTS), '--pipeline',
            str(args.pipeline), '--keys', '1', '--duration', str(args.seconds), '--warmup', '0', '--json', '--quiet', '--command', command]
    before = cpu_us(server.process.pid)
    bench = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, preexec_fn=lambda: os.sched_setaffinity(0, cores))
    if row == 'read':
        while bench.poll() is None:
            ask(server.client, 'GET', 'bar')
            time.sleep(0.1)
    report = json.loads(bench.communicate()[0])
    after = cpu_us(server.process.pid)
    state = ask(server.client, 'HOT', 'bar') if row in SPLIT else b'split'
    if b'split' not in state:
        sys.exit(f'the counter is not split any more: {state}')
    total = report['groups'][0]['total']
    requests = total['per_second'] * args.seconds
    used = [(after[name] - before[name]) / requests for name in after]
    return total['per_second'], total.get('latency_us', total)['p50'], sum(used), max(used)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    here = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    parser.add_argument('--cairn', default=os.path.join(here, 'target/release/cairn'))
    parser.add_argument('--reps', type=int, default=5)
    parser.add_argument('--seconds', type=float, default=3)
    parser.add_argument('--pipeline', type=int, default=16)
    parser.add_argument('--dir', default=os.path.join(here, 'target'))
    parser.add_argument('--port', type=int, default=7980)
    args = parser.parse_args()

    directory = tempfile.mkdtemp(prefix='split-counter-', dir=args.dir)
    servers = {}
    try:
        for _, _, shards, cores, _, _ in ROWS:
            if (shards, len(cores)) not in servers:
                server = servers[shards, len(cores)] = Server(args, directory, shards, cores, args.port + len(servers))
                server.process.send_signal(signal.SIGSTOP)
        seen = {}
        for _ in range(args.reps):
            for row, _, shards, cores, clients, command in ROWS:
                server = servers[shards, len(cores)]
                server.process.send_signal(signal.SIGCONT)
                server.prepare(row in SPLIT)
                seen.setdefault(row, []).append(measure(args, server, row, clients, command))
                server.process.send_signal(signal.SIGSTOP)
        show(args, seen)
    finally:
        for server in servers.values():
            server.process.send_signal(signal.SIGCONT)
            server.process.terminate()
            server.process.wait()
        shutil.rmtree(directory, ignore_errors=True)


def show(args, seen):
    def median(row, at):
        return statistics.median(run[at] for run in seen[row])

    print(f'{CLIENTS} clients, pipeline {args.pipeline}; medians of {args.reps} alternating runs of {args.seconds:g} s.\n')
    print('| workload | requests/s | p50 us | CPU us each, all workers | the busiest worker |\n| --- | ---: | ---: | ---: | ---: |')
    for row, title, *_ in ROWS:
        rate, p50, used, busiest = (median(row, at) for at in range(4))
        print(f'| {title} | {rate:,.0f} | {p50:,.0f} | {used:.3f} | {busiest:.3f} |')
    print('\n| claim | asked | seen |\n| --- | ---: | ---: |')
    print(f'| ADD on two cores / INCR on one, by what one core does of each | >= 1.5 | {2 * median("both", 0) / median("one", 0):.2f} |')
    print(f'| the same by CPU of a request | >= 1.5 | {2 * median("one", 2) / median("both", 2):.2f} |')
    print(f'| ADD / INCR, two shards, clients on the same cores | | {median("split", 0) / median("whole", 0):.2f} |')
    print(f'| ADD with a GET every 100 ms / without | | {median("read", 0) / median("split", 0):.2f} |')


if __name__ == '__main__':
    main()
