"""What client libraries send before their users' first command, byte by byte: go-redis, Jedis, Lettuce, StackExchange.Redis, HAProxy."""
import socket
import sys

port = int(sys.argv[1])


class Connection:
    def __init__(self):
        self.socket = socket.create_connection(('127.0.0.1', port), timeout=10)
        self.file = self.socket.makefile('rb')

    def send(self, *words):
        out = b'*%d\r\n' % len(words)
        for word in words:
            word = word if isinstance(word, bytes) else str(word).encode()
            out += b'$%d\r\n%s\r\n' % (len(word), word)
        self.socket.sendall(out)

    def read(self):
        line = self.file.readline().rstrip(b'\r\n')
        kind, rest = line[:1], line[1:]
        if kind in b'+,(#':
            return rest.decode()
        if kind == b'-':
            return Exception(rest.decode())
        if kind == b':':
            return int(rest)
        if kind == b'_' or rest == b'-1':
            return None
        if kind in b'$=!':
            return self.file.read(int(rest) + 2)[:-2].decode()
        items = [self.read() for _ in range(int(rest) * (2 if kind == b'%' else 1))]
        return dict(zip(items[::2], items[1::2])) if kind == b'%' else items

    def __call__(self, *words):
        self.send(*words)
        return self.read()


def go_redis():
    # One pipeline, and none of its errors keeps the connection from being used.
    conn = Connection()
    conn.send('hello', 3, 'setname', 'gopher')
    conn.send('client', 'maint_notifications', 'on', 'moving-endpoint-type', 'internal-ip')
    conn.send('client', 'setinfo', 'LIB-NAME', 'go-redis(,go1.24.1)')
    conn.send('client', 'setinfo', 'LIB-VER', '9.16.0')
    hello, notifications, name, version = (conn.read() for _ in range(4))
    assert hello['proto'] == 3 and hello['mode'] == 'standalone' and hello['role'] == 'master', hello
    assert hello['version'].startswith('7.2.') and hello['modules'] == []
    assert isinstance(notifications, Exception) and notifications.args[0].startswith('ERR unknown subcommand'), notifications
    assert (name, version) == ('OK', 'OK'), (name, version)
    line = conn('client', 'list', 'id', conn('client', 'id'))
    assert ' name=gopher ' in line and ' resp=3 lib-name=go-redis(,go1.24.1) lib-ver=9.16.0\n' in line, line
    assert conn('readonly') == 'OK' and conn('readwrite') == 'OK'
    assert conn('select', 1) == 'OK' and conn('get', 'none') is None
    assert any(row[0] == 'get' for row in conn('command'))
    assert conn('cluster', 'slots') is not None


def jedis():
    conn = Connection()
    hello = conn('HELLO', '3', 'AUTH', 'default', 'none')
    assert isinstance(hello, (dict, Exception))
    conn = Connection()
    assert conn('CLIENT', 'SETINFO', 'LIB-NAME', 'jedis') == 'OK' and conn('CLIENT', 'SETINFO', 'lib-ver', '6.2.0') == 'OK'
    assert conn('PING') == 'PONG' and conn('QUIT') == 'OK' and conn.file.read() == b''


def lettuce():
    conn = Connection()
    hello = conn('HELLO', '3')
    assert set(hello) == {'server', 'version', 'proto', 'id', 'mode', 'role', 'modules'}, hello
    assert conn('CLIENT', 'SETNAME', 'lettuce') == 'OK'
    assert isinstance(conn('HELLO', '4'), Exception)


def stack_exchange():
    conn = Connection()
    assert conn('CLIENT', 'SETNAME', 'machine') == 'OK' and conn('CLIENT', 'ID') > 0
    for name in ('timeout', 'replica-read-only', 'databases'):
        assert conn('CONFIG', 'GET', name)[0] == name
    assert 'redis_version:' in conn('INFO', 'server') and 'role:master' in conn('INFO', 'replication')
    assert isinstance(conn('SENTINEL', 'MASTERS'), Exception)
    assert conn('CLUSTER', 'NODES') is not None
    assert conn('GET', '__Booksleeve_TieBreak') is None and conn('ECHO', b'\x00\xffx'.hex()) == '00ff78'
    assert conn('SUBSCRIBE', '__Booksleeve_MasterChanged') == ['subscribe', '__Booksleeve_MasterChanged', 1]
    assert conn('PING') == ['pong', '']


def inline():
    # HAProxy's and Kubernetes's checks.
    conn = Connection()
    conn.socket.sendall(b'PING\r\ninfo replication\r\nQUIT\r\n')
    assert conn.read() == 'PONG' and 'role:master' in conn.read() and conn.read() == 'OK'


def many():
    conn = Connection()
    for n in range(5000):
        conn.send('SET', f'h:{n}', n)
    assert all(conn.read() == 'OK' for _ in range(5000))
    assert conn('UNLINK', *(f'h:{n}' for n in range(5000))) == 5000


if __name__ == '__main__':
    for check in (go_redis, jedis, lettuce, stack_exchange, inline, many):
        check()
    print('handshakes of go-redis, Jedis, Lettuce, StackExchange.Redis, HAProxy: work')
