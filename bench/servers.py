"""A server for a measurement: started on a directory of its own, and ended and removed behind it."""

import contextlib, os, shutil, signal, socket, subprocess, sys, tempfile, time


@contextlib.contextmanager
def running(server, port, directory=None, core=0, shards=1):
    """The process, when it answers. One whose name holds `cairn` is durable and has so many shards, others have no persistence. `core`: where it runs; None: anywhere."""
    data = tempfile.mkdtemp(prefix="measure-", dir=directory)
    command = [] if core is None else ["taskset", "-c", str(core)]
    command += [server, "--port", str(port), "--dir", data]
    if "cairn" in os.path.basename(server):
        command += ["--shards", str(shards), "--metrics-addr", "off"]
    else:
        command += ["--save", "", "--appendonly", "no"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(100):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 5) as sock:
                sock.sendall(b"PING\r\n")
                if sock.recv(64).startswith(b"+PONG"):
                    break
            time.sleep(0.1)
        else:
            sys.exit(f"{server} does not start")
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()
        shutil.rmtree(data, ignore_errors=True)


def fill(port, lines):
    """Sends commands through redis-cli --pipe."""
    cli = subprocess.Popen(["redis-cli", "-p", str(port), "--pipe"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
    for line in lines:
        cli.stdin.write(line.encode() + b"\r\n")
    cli.stdin.close()
    cli.wait()
