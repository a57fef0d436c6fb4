"""redis-py with its defaults, and with each protocol: what people do first."""
import sys

import redis

port = int(sys.argv[1])


def check(client):
    client.flushdb()
    assert client.ping()
    assert client.set('k', 'v') and client.get('k') == b'v'
    assert client.set('k', 'w', nx=True) is None and client.set('k', 'w', get=True) == b'v'
    assert client.get('none') is None
    assert client.incr('n') == 1 and client.incrby('n', 41) == 42 and client.incrbyfloat('n', 0.5) == 42.5
    assert client.mget('k', 'none', 'n') == [b'w', None, b'42.5']
    assert client.append('k', 'x') == 2 and client.strlen('k') == 2 and client.getrange('k', 0, 0) == b'w'
    assert client.expire('k', 100) and 0 < client.ttl('k') <= 100 and client.persist('k') and client.ttl('k') == -1
    assert client.exists('k', 'n', 'none') == 2 and client.type('k') in (b'string', 'string')
    pipe = client.pipeline(transaction=False)
    for n in range(500):
        pipe.set(f'p:{n}', n)
    assert pipe.execute() == [True] * 500
    assert len(set(client.scan_iter('p:*', count=7))) == 500 and client.dbsize() == 502
    assert client.delete(*(f'p:{n}' for n in range(500))) == 500
    assert client.info()['redis_version'].startswith('7.2.')
    assert client.info('all')['role'] == 'master'
    assert client.config_get('maxmemory-policy') == {'maxmemory-policy': 'noeviction'}
    assert client.client_setname('me') and client.client_getname() in (b'me', 'me')
    assert any(line['name'] == 'me' for line in client.client_list())
    assert client.time()[0] > 1_600_000_000
    assert isinstance(client.slowlog_get(), list)
    value = bytes(range(256)) * 4096
    assert client.set('big', value) and client.get('big') == value
    try:
        client.incr('k')
        raise AssertionError('an error was expected')
    except redis.ResponseError as error:
        assert 'not an integer' in str(error), error


check(redis.Redis(port=port))
for protocol in (2, 3):
    check(redis.Redis(port=port, protocol=protocol))
print(f'redis-py {redis.__version__}: works')
