"""redis-py in depth: transactions, locks, publish/subscribe, streams, scripts, all types, asyncio, pools, errors."""
import asyncio
import sys
import threading

import redis
import redis.asyncio
from redis.cache import CacheConfig

port = int(sys.argv[1])


def transactions(client):
    client.set('{t}balance', 10)

    def transfer(pipe):
        balance = int(pipe.get('{t}balance'))
        pipe.multi()
        pipe.set('{t}balance', balance - 1)
        pipe.incr('{t}other')

    assert client.transaction(transfer, '{t}balance') == [True, 1]
    with client.pipeline() as pipe:
        pipe.watch('{t}balance')
        client.set('{t}balance', 0)
        pipe.multi()
        pipe.incr('{t}balance')
        try:
            pipe.execute()
            raise AssertionError('an error was expected')
        except redis.WatchError:
            pass
    replies = client.pipeline().set('a', 1).set('b', 2).incr('a').mget('a', 'b').execute()
    assert replies[:3] == [True, True, 2], replies
    replies = client.pipeline().set('a', 'x').incr('a').execute(raise_on_error=False)
    assert isinstance(replies[1], redis.ResponseError)


def locks(client):
    with client.lock('lock', timeout=10):
        assert not client.lock('lock').acquire(blocking=False)
    lock = client.lock('lock', timeout=10)
    assert lock.acquire() and lock.extend(5) and lock.reacquire() and lock.owned()
    lock.release()
    assert not client.exists('lock')


def publish_and_subscribe(client):
    pubsub = client.pubsub(ignore_subscribe_messages=True)
    got = []
    pubsub.subscribe(news=lambda message: got.append(message['data']))
    pubsub.psubscribe(**{'n?ws': lambda message: got.append(message['data'])})
    thread = pubsub.run_in_thread(sleep_time=0.01)
    for _ in range(200):
        if client.publish('news', 'x') == 2:
            break
    for _ in range(1000):
        if len(got) >= 2:
            break
        threading.Event().wait(0.01)
    thread.stop()
    thread.join()
    assert got.count(b'x') >= 2 and client.pubsub_numsub('none')[0][1] == 0


def collections(client):
    assert client.hset('h', mapping={str(n): n for n in range(1000)}) == 1000 and client.hincrby('h', '1', 5) == 6
    assert len(client.hgetall('h')) == 1000 and len(dict(client.hscan_iter('h', count=50))) == 1000
    assert client.rpush('l', *range(1000)) == 1000 and client.lrange('l', -2, -1) == [b'998', b'999']
    assert client.lpos('l', 500) == 500 and client.lmove('l', 'l', 'LEFT', 'RIGHT') == b'0'
    assert client.sadd('s', *range(1000)) == 1000 and len(set(client.sscan_iter('s', count=50))) == 1000
    assert client.zadd('z', {str(n): n for n in range(1000)}) == 1000
    assert client.zrange('z', 0, 1, withscores=True) in ([(b'0', 0.0), (b'1', 1.0)], [[b'0', 0.0], [b'1', 1.0]])
    assert client.zrangebyscore('z', '(5', 7) == [b'6', b'7'] and client.zrank('z', '10') == 10
    assert len(list(client.zscan_iter('z', count=50))) == 1000
    assert client.pfadd('p', *range(100)) == 1 and 95 < client.pfcount('p') < 105
    assert client.geoadd('g', (13.361389, 38.115556, 'Palermo', 15.087269, 37.502669, 'Catania')) == 2
    assert round(client.geodist('g', 'Palermo', 'Catania', unit='km')) == 166
    assert client.setbit('bits', 7, 1) == 0 and client.bitcount('bits') == 1
    assert client.bitfield('bits').set('u8', 0, 255).get('u4', 0).execute() == [1, 15]
    assert client.blpop('l', timeout=1)[1] == b'1' and client.blpop('none', timeout=0.05) is None


def streams(client):
    ids = [client.xadd('x', {'n': n}) for n in range(10)]
    assert client.xlen('x') == 10 and len(client.xrange('x', count=3)) == 3
    assert client.xgroup_create('x', 'g', id='0')
    got = client.xreadgroup('g', 'me', {'x': '>'}, count=4)
    assert len((got[0][1] if isinstance(got, list) else list(got.values())[0])) in (1, 4)
    assert client.xack('x', 'g', ids[0]) == 1 and client.xpending('x', 'g')['pending'] == 3
    assert client.xinfo_stream('x')['length'] == 10 and client.xinfo_groups('x')[0]['pending'] == 3
    assert client.xautoclaim('x', 'g', 'you', min_idle_time=0)[1]
    assert client.xtrim('x', maxlen=5, approximate=False) == 5
    try:
        client.xgroup_create('x', 'g')
        raise AssertionError('an error was expected')
    except redis.ResponseError as error:
        assert str(error).startswith('BUSYGROUP')


def scripts(client):
    double = client.register_script("return redis.call('incrby', KEYS[1], ARGV[1]) * 2")
    client.script_flush()
    assert double(keys=['n'], args=[21]) == 42
    assert client.pipeline() is not None and double(keys=['n'], args=[0]) == 42
    code = "#!lua name=lib\nredis.register_function('three', function() return 3 end)"
    assert client.function_load(code, replace=True) in (b'lib', 'lib') and client.fcall('three', 0) == 3
    assert client.function_delete('lib')


def errors(client):
    for text, call in [
            ('WRONGTYPE', lambda: client.lpush('a-string', 1)),
            ('unknown command', lambda: client.execute_command('NONE')),
            ('NOSCRIPT', lambda: client.execute_command('EVALSHA', '0' * 40, 0)),
            ('wrong number of arguments', lambda: client.execute_command('GET'))]:
        client.set('a-string', 'x')
        try:
            call()
            raise AssertionError('an error was expected')
        except redis.ResponseError as error:
            assert text in str(error) or type(error).__name__ in ('NoScriptError',), error


def monitor(client):
    with client.monitor() as lines:
        client.set('seen', 1)
        assert lines.next_command()['command'] == 'SET seen 1'


def server(client):
    assert client.memory_usage('z') > 0 and client.memory_stats() and client.object('encoding', 'a-string') in (b'embstr', 'embstr')
    assert client.command_count() > 200 and 'get' in client.command()
    assert client.acl_whoami() in (b'default', 'default') and client.acl_list()
    assert client.client_info()['resp'] in (2, 3, '2', '3') and client.client_id() > 0
    assert client.config_set('slowlog-log-slower-than', 10000) and client.latency_latest() == []
    assert client.object('refcount', 'a-string') == 1 and client.lastsave()


def caching():
    # Its cache is kept right by invalidations, which are read with the next reply. It asks for a server of 7.4; what it needs is in 6.0.
    redis.connection.CacheProxyConnection.MIN_ALLOWED_VERSION = '7.0.0'
    cached = redis.Redis(port=port, protocol=3, cache_config=CacheConfig())
    other = redis.Redis(port=port)
    keys = [f'cached:{n}' for n in range(20)]
    for key in keys:
        other.set(key, 1)
        assert cached.get(key) == b'1' and cached.get(key) == b'1'
    assert cached.get_cache().size == 20
    before = other.info('commandstats')['cmdstat_get']['calls']
    assert all(cached.get(key) == b'1' for key in keys)
    assert other.info('commandstats')['cmdstat_get']['calls'] == before, 'they came from the cache'
    for key in keys:
        other.set(key, 2)
    for _ in range(200):
        if all(cached.get(key) == b'2' for key in keys):
            break
        threading.Event().wait(0.01)
    else:
        raise AssertionError('what is cached is old')
    other.flushdb()
    for _ in range(200):
        if all(cached.get(key) is None for key in keys):
            break
        threading.Event().wait(0.01)
    else:
        raise AssertionError('what is cached is gone')


async def asynchronous(protocol):
    client = redis.asyncio.Redis(port=port, protocol=protocol)
    assert await client.set('async', 1) and await client.incr('async') == 2
    async with client.pipeline(transaction=True) as pipe:
        assert await pipe.set('one', 1).get('one').execute() == [True, b'1']
    assert await asyncio.gather(*(client.incr('many') for _ in range(80)))
    assert await client.get('many') == b'80'
    async with client.pubsub() as pubsub:
        await pubsub.subscribe('there')
        assert (await pubsub.get_message(timeout=5))['type'] == 'subscribe'
        await client.publish('there', 'x')
        assert (await pubsub.get_message(timeout=5))['data'] == b'x'
    waiting = asyncio.create_task(client.blpop('later', timeout=5))
    await asyncio.sleep(0.05)
    await client.rpush('later', 'now')
    assert (await waiting)[1] == b'now'
    async with client.lock('async-lock', timeout=5):
        pass
    await client.aclose()


if __name__ == '__main__':
    for protocol in (2, 3):
        client = redis.Redis(port=port, protocol=protocol)
        client.flushdb()
        for check in (transactions, locks, publish_and_subscribe, collections, streams, scripts, errors, monitor, server):
            check(client)
        asyncio.run(asynchronous(protocol))
        with redis.Redis(port=port, db=1, protocol=protocol, decode_responses=True, client_name='me') as other:
            assert other.set('k', 'ü') and other.get('k') == 'ü' and other.client_getname() == 'me' and other.delete('k')
        client.flushdb()
    caching()
    print(f'redis-py {redis.__version__} in depth: works')
