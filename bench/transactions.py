#!/usr/bin/env python3
"""Durable transactions side by side: Cairn, redis-server with appendfsync always, PostgreSQL. Prints Markdown.

    bench/transactions.py [--cairn BIN] [--redis redis-server] [--postgres BINDIR] [--reps 5] [--seconds 3] [--dir DIR] [--port 7960] [--load-cpu N]
                          [--only ROW,ROW]

Cairn has two shards on cores 0 and 1, 50 clients on the same two cores: one thread, wherever the scheduler puts it, or on --load-cpu. That decides
much where one core has the disk's interrupts; all servers are loaded by as many clients, one after the
other in each repetition, and stopped (SIGSTOP) meanwhile. Medians. As root PostgreSQL runs as the user `postgres`; without
its programs in PATH or in --postgres its rows are left out. Each server has its data in DIR, which must be on a disk.
"""

import argparse
import json
import os
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time

CLIENTS = 50
ACCOUNTS = 100_000
# Hash tags of the first and of the second of two shards.
FIRST, SECOND = '{{b}}', '{{a}}'
WITHIN = [f'MULTI ; DECRBY {tag}:{{num}} 1 ; INCRBY {tag}:{{num}} 1 ; EXEC' for tag in (FIRST, SECOND)]
ACROSS = [f'MULTI ; DECRBY {FIRST}:{{num}} 1 ; INCRBY {SECOND}:{{num}} 1 ; EXEC']
COUNTER = ['INCR counter']
COUNTERS = ['INCR counter:{num}']
# As one pipeline: what a client library does that knows beforehand what it writes.
INTERACTIVE = [f'BEGIN ; GET {tag}:row:{{num}} ; SET {tag}:row:{{num}} {{value}} ; COMMIT' for tag in (FIRST, SECOND)]
BARE = ['BEGIN ; COMMIT']
LOCK = [f'BEGIN ; LOCK {tag}:{{num}} ; COMMIT' for tag in (FIRST, SECOND)]
LOCKS = [f'BEGIN ; LOCK {" ".join(f"{tag}:{{num}}:{at}" for at in range(11))} ; COMMIT' for tag in (FIRST, SECOND)]

PG_TRANSFER = f"""\\set a random(1, {ACCOUNTS})
\\set b random(1, {ACCOUNTS})
BEGIN;
UPDATE accounts SET balance = balance - 1 WHERE id = :a;
UPDATE accounts SET balance = balance + 1 WHERE id = :b;
COMMIT;
"""
PG_HOT = 'UPDATE accounts SET balance = balance + 1 WHERE id = 1;\n'

# Name, title, templates, keys, pipeline.
ROWS = [
    ('within', 'transfer, both keys on one shard', WITHIN, ACCOUNTS, 1),
    ('within16', 'transfer, both keys on one shard, pipeline 16', WITHIN, ACCOUNTS, 16),
    ('across', 'transfer, keys on two shards', ACROSS, ACCOUNTS, 1),
    ('hot', 'INCR of one counter, pipeline 16', COUNTER, 1, 16),
    ('cold', 'INCR over a million counters, pipeline 16', COUNTERS, 1_000_000, 16),
    ('interactive', 'BEGIN, GET, SET, COMMIT in one pipeline', INTERACTIVE, ACCOUNTS, 1),
    ('bare', 'BEGIN, COMMIT in one pipeline', BARE, ACCOUNTS, 1),
    ('lock', 'BEGIN, LOCK of one key, COMMIT in one pipeline', LOCK, ACCOUNTS, 1),
    ('locks', 'BEGIN, LOCK of eleven keys, COMMIT in one pipeline', LOCKS, ACCOUNTS, 1),
]
# redis-server has these.
BOTH = ('within', 'within16', 'hot')


class Server:
    def __init__(self, name, argv, log, user=None):
        self.name = name
        self.log = open(log, 'w')
        self.process = subprocess.Popen(argv, stdout=self.log, stderr=subprocess.STDOUT, start_new_session=True, user=user)

    def send(self, number):
        os.killpg(self.process.pid, number)

    def end(self, number=signal.SIGTERM):
        self.send(signal.SIGCONT)
        self.process.send_signal(number)
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.send(signal.SIGKILL)
            self.process.wait()


def await_port(port, server):
    for _ in range(600):
        if server.process.poll() is not None:
            break
        try:
            socket.create_connection(('127.0.0.1', port), 1).close()
            return
        except OSError:
            time.sleep(0.1)
    sys.exit(f'{server.name} does not answer at port {port}; its log is {server.log.name}')


def run(argv, **how):
    done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **how)
    if done.returncode != 0:
        sys.exit(f'{" ".join(argv)}: exit {done.returncode}\n{done.stdout[-2000:]}{done.stderr[-2000:]}')
    return done.stdout


def bench(cairn, port, pid, templates, keys, pipeline, seconds, load_cpu):
    """Requests a second, median latency in microseconds, CPU microseconds of the server a request."""
    argv = [cairn, 'bench', '--port', str(port), '--pid', str(pid), '--clients', str(CLIENTS), '--pipeline', str(pipeline),
            '--keys', str(keys), '--duration', str(seconds), '--warmup', '0.5', '--json', '--quiet', '--value-size', '100']
    if load_cpu is not None:
        argv += ['--cpus', str(load_cpu)]
    for template in templates:
        argv += ['--command', template]
    report = json.loads(run(argv))
    total = report['groups'][0]['total']
    latency = total.get('latency_us', total)
    return total['per_second'], latency['p50'], report['server']['cpu_us_per_request']


class Postgres:
    def __init__(self, bindir, directory, port):
        self.bindir, self.port = bindir, port
        self.user = 'postgres' if os.geteuid() == 0 else None
        self.data = os.path.join(directory, 'postgres')
        os.mkdir(self.data)
        if self.user:
            shutil.chown(self.data, self.user)
            os.chmod(directory, 0o755)
        self.scripts = {}
        for name, text in (('transfer', PG_TRANSFER), ('hot', PG_HOT)):
            self.scripts[name] = os.path.join(directory, f'{name}.sql')
            with open(self.scripts[name], 'w') as file:
                file.write(text)
        run([self.program('initdb'), '-D', self.data, '-U', 'bench', '--auth=trust'], user=self.user, cwd=directory)
        argv = [self.program('postgres'), '-D', self.data, '-p', str(port), '-k', self.data, '-c', 'synchronous_commit=on',
                '-c', 'fsync=on', '-c', 'shared_buffers=1GB', '-c', 'max_wal_size=8GB', '-c', 'listen_addresses=127.0.0.1']
        self.server = Server('PostgreSQL', argv, os.path.join(directory, 'postgres.log'), self.user)
        await_port(port, self.server)
        time.sleep(1)
        for statement in ('CREATE TABLE accounts (id int PRIMARY KEY, balance bigint) WITH (fillfactor = 50)',
                          f'INSERT INTO accounts SELECT n, 0 FROM generate_series(1, {ACCOUNTS}) n', 'VACUUM ANALYZE accounts'):
            run([self.program('psql'), *self.where(), '-c', statement])
        self.version = run([self.program('postgres'), '--version']).split()[2]

    def program(self, name):
        return shutil.which(name, path=self.bindir) or shutil.which(name) or sys.exit(f'{name} is neither in {self.bindir} nor in PATH')

    def where(self):
        return ['-h', '127.0.0.1', '-p', str(self.port), '-U', 'bench', 'postgres']

    def bench(self, script, seconds):
        said = run([self.program('pgbench'), '-n', '-M', 'prepared', '-c', str(CLIENTS), '-j', '2', '-T', str(max(1, round(seconds))),
                    '-f', self.scripts[script], *self.where()])
        rate = float(re.search(r'tps = ([\d.]+)', said)[1])
        return rate, float(re.search(r'latency average = ([\d.]+) ms', said)[1]) * 1000, None


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    here = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    parser.add_argument('--cairn', default=os.path.join(here, 'target/release/cairn'))
    parser.add_argument('--redis', default=shutil.which('redis-server'))
    parser.add_argument('--postgres', default=os.path.dirname(shutil.which('initdb') or '') or '/usr/lib/postgresql/15/bin')
    parser.add_argument('--reps', type=int, default=5)
    parser.add_argument('--seconds', type=float, default=3)
    parser.add_argument('--dir', default=os.path.join(here, 'target'))
    parser.add_argument('--port', type=int, default=7960)
    parser.add_argument('--load-cpu', type=int)
    parser.add_argument('--only', default=','.join(row[0] for row in ROWS), help='rows, without PostgreSQL if not all: %(default)s')
    args = parser.parse_args()

    directory = tempfile.mkdtemp(prefix='transactions-', dir=args.dir)
    ports = {'cairn': args.port, 'redis': args.port + 1}
    servers, postgres = {}, None
    try:
        servers['cairn'] = Server('cairn', [
            args.cairn, 'serve', '--dir', os.path.join(directory, 'cairn'), '--port', str(ports['cairn']), '--shards', '2', '--cpus', '0,1',
            '--metrics-addr', 'off'], os.path.join(directory, 'cairn.log'))
        if args.redis:
            servers['redis'] = Server('redis-server', [
                args.redis, '--dir', directory, '--port', str(ports['redis']), '--save', '', '--appendonly', 'yes', '--appendfsync', 'always',
                '--auto-aof-rewrite-percentage', '0'], os.path.join(directory, 'redis.log'))
        for name, server in servers.items():
            await_port(ports[name], server)
            server.send(signal.SIGSTOP)
        only = args.only.split(',')
        if len(only) == len(ROWS) and os.path.exists(os.path.join(args.postgres, 'initdb')):
            postgres = Postgres(args.postgres, directory, args.port + 2)
            postgres.server.send(signal.SIGSTOP)

        seen = {}
        for rep in range(args.reps):
            for row, title, templates, keys, pipeline in (row for row in ROWS if row[0] in only):
                for name, server in servers.items():
                    if name == 'redis' and row not in BOTH:
                        continue
                    print(f'repetition {rep + 1} of {args.reps}: {title}: {name}', file=sys.stderr)
                    server.send(signal.SIGCONT)
                    figures = bench(args.cairn, ports[name], server.process.pid, templates, keys, pipeline, args.seconds, args.load_cpu)
                    seen.setdefault((row, name), []).append(figures)
                    server.send(signal.SIGSTOP)
            for script in ('transfer', 'hot') if postgres else ():
                print(f'repetition {rep + 1} of {args.reps}: {script}: PostgreSQL', file=sys.stderr)
                # Its children are of its process group.
                postgres.server.send(signal.SIGCONT)
                seen.setdefault((script, 'postgres'), []).append(postgres.bench(script, args.seconds))
                postgres.server.send(signal.SIGSTOP)
        show(seen, args, postgres)
    finally:
        for server in servers.values():
            server.end()
        if postgres:
            postgres.server.end(signal.SIGINT)
        shutil.rmtree(directory, ignore_errors=True)


def show(seen, args, postgres):
    titles = {row[0]: row[1] for row in ROWS}
    titles['transfer'] = 'transfer of two rows (pgbench, prepared)'
    names = {'cairn': 'Cairn, 2 shards', 'redis': 'redis-server, appendfsync always', 'postgres': f'PostgreSQL {postgres.version}' if postgres else ''}

    def median(row, name, at=0):
        runs = seen.get((row, name))
        return statistics.median(run[at] for run in runs) if runs and runs[0][at] is not None else None

    where = '' if args.load_cpu is None else f' (these on core {args.load_cpu})'
    print(f'{CLIENTS} clients, cores 0 and 1 for server and clients{where}, {ACCOUNTS} accounts, medians of {args.reps} alternating runs of {args.seconds:g} s.\n')
    print('| workload | server | transactions/s | p50 us | server CPU us each |\n| --- | --- | ---: | ---: | ---: |')
    for row, name in seen:
        title = 'UPDATE of one row' if (row, name) == ('hot', 'postgres') else titles[row]
        cpu = median(row, name, 2)
        print(f'| {title} | {names[name]} | {median(row, name):,.0f} | {median(row, name, 1):,.0f} | {"" if cpu is None else f"{cpu:.2f}"} |')

    def claim(what, asked, above, below):
        above, below = median(*above), median(*below)
        if above and below:
            print(f'| {what} | >= {asked} | {above / below:.2f} |')

    print('\n| claim | asked | seen |\n| --- | ---: | ---: |')
    claim('transfer on one shard / redis-server', 1.3, ('within', 'cairn'), ('within', 'redis'))
    claim('the same, pipeline 16', 1.3, ('within16', 'cairn'), ('within16', 'redis'))
    claim('transfer over two shards / on one shard', 0.6, ('across', 'cairn'), ('within', 'cairn'))
    across, within = median('across', 'cairn', 1), median('within', 'cairn', 1)
    if across and within:
        print(f'| p50 of the transfer over two shards, beyond that on one | one flush | {across - within:.0f} us |')
    bare, one, eleven = (median(row, 'cairn', 2) for row in ('bare', 'lock', 'locks'))
    if bare and one and eleven:
        print(f'| CPU of the first lock of a transaction; of each further one | | {one - bare:.2f} us; {(eleven - one) / 10:.2f} us |')
    claim('transfer on one shard / PostgreSQL', 10, ('within', 'cairn'), ('transfer', 'postgres'))
    claim('transfer over two shards / PostgreSQL', 10, ('across', 'cairn'), ('transfer', 'postgres'))
    claim('one hot row / PostgreSQL', 20, ('hot', 'cairn'), ('hot', 'postgres'))
    claim('one hot counter / a million counters', 0.9, ('hot', 'cairn'), ('cold', 'cairn'))
    claim('one hot counter / redis-server', 1.3, ('hot', 'cairn'), ('hot', 'redis'))


if __name__ == '__main__':
    main()
