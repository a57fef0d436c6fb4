"""django-redis as Django's cache: values, many at once, times, counters, patterns, locks, sessions."""
import sys
import time

import django
import django_redis
from django.conf import settings

port = int(sys.argv[1])
settings.configure(
    CACHES={'default': {'BACKEND': 'django_redis.cache.RedisCache', 'LOCATION': f'redis://127.0.0.1:{port}/2'}},
    SESSION_ENGINE='django.contrib.sessions.backends.cache', USE_TZ=True)
django.setup()

from django.contrib.sessions.backends.cache import SessionStore  # noqa: E402
from django.core.cache import cache  # noqa: E402


def check():
    cache.clear()
    assert cache.set('k', {'a': [1, 2]}) and cache.get('k') == {'a': [1, 2]} and cache.get('none', 7) == 7
    assert cache.add('k', 1) is False and cache.add('new', 1) is True
    cache.set_many({f'm{n}': n for n in range(100)})
    assert cache.get_many([f'm{n}' for n in range(100)]) == {f'm{n}': n for n in range(100)}
    cache.set('n', 1)
    assert cache.incr('n', 41) == 42 and cache.decr('n') == 41
    assert cache.set('short', 1, timeout=0.05) and cache.ttl('n') is not None
    time.sleep(0.1)
    assert cache.get('short') is None and cache.touch('n', 100) and 0 < cache.ttl('n') <= 100
    assert cache.persist('n') and cache.ttl('n') is None and cache.expire('n', 5)
    assert len(cache.keys('m*')) == 100 and len(list(cache.iter_keys('m*'))) == 100
    assert cache.delete_many(['m0', 'm1']) == 2 and cache.delete_pattern('m*') == 98
    with cache.lock('lock', timeout=5):
        assert cache.has_key('lock')
    assert cache.get_or_set('made', lambda: 'x') == 'x' and cache.set('old', 1, version=2) and cache.incr_version('old', version=2) == 3
    session = SessionStore()
    session['user'] = 'me'
    session.save()
    assert SessionStore(session.session_key)['user'] == 'me'
    session.delete()
    cache.clear()
    assert cache.keys('*') == []


if __name__ == '__main__':
    check()
    print(f'django-redis {".".join(map(str, django_redis.VERSION))} with Django {django.get_version()}: works')
