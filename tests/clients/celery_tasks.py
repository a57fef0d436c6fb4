"""Celery with Redis as broker and as result backend: tasks, retries, chains, groups, chords, times, revocation."""
import subprocess
import sys
import time

import celery
import redis
from celery import chain, chord, group

port = int(sys.argv[1] if sys.argv[1:] and sys.argv[1].isdigit() else __import__('os').environ['CLIENTS_PORT'])
url = f'redis://127.0.0.1:{port}'
app = celery.Celery('celery_tasks', broker=f'{url}/0', backend=f'{url}/1')
app.conf.update(broker_connection_retry_on_startup=True, worker_hijack_root_logger=False)


@app.task
def add(a, b):
    return a + b


@app.task
def total(numbers):
    return sum(numbers)


@app.task(bind=True, max_retries=3)
def third_time(self):
    if self.request.retries < 2:
        raise self.retry(countdown=0)
    return self.request.retries


@app.task
def fail():
    raise ValueError('on purpose')


def check():
    for db in (0, 1):
        redis.Redis(port=port, db=db).flushdb()
    worker = subprocess.Popen(
        [sys.executable, '-m', 'celery', '-A', 'celery_tasks', 'worker', '--pool', 'threads', '-c', '4', '-l', 'ERROR'],
        cwd=sys.path[0], env={**__import__('os').environ, 'CLIENTS_PORT': str(port), 'PYTHONDONTWRITEBYTECODE': '1'})
    try:
        assert add.delay(1, 2).get(timeout=30) == 3
        assert [result.get(timeout=20) for result in [add.delay(n, n) for n in range(50)]] == [2 * n for n in range(50)]
        assert third_time.delay().get(timeout=20) == 2
        try:
            fail.delay().get(timeout=20)
            raise AssertionError('an error was expected')
        except ValueError as error:
            assert str(error) == 'on purpose'
        assert chain(add.s(1, 2), add.s(3), add.s(4)).delay().get(timeout=20) == 10
        assert group(add.s(n, n) for n in range(10)).delay().get(timeout=20) == [2 * n for n in range(10)]
        assert chord([add.s(n, n) for n in range(10)], total.s()).delay().get(timeout=20) == 90
        assert chain(group(add.s(n, 0) for n in range(3)), total.s(), add.s(1)).delay().get(timeout=20) == 4
        started = time.monotonic()
        assert add.apply_async((1, 1), countdown=1).get(timeout=20) == 2 and time.monotonic() - started > 0.9
        assert add.apply_async((1, 1), expires=60, priority=9).get(timeout=20) == 2
        revoked = add.apply_async((1, 1), countdown=2)
        revoked.revoke()
        try:
            revoked.get(timeout=20)
            raise AssertionError('it was to be revoked')
        except celery.exceptions.TaskRevokedError:
            pass
        assert len(app.control.ping(timeout=5, limit=1)) == 1
        assert app.control.inspect(timeout=2, limit=1).stats()
        result = add.delay(5, 6)
        assert result.get(timeout=20) == 11
        result.forget()
        assert redis.Redis(port=port, db=1).exists(f'celery-task-meta-{result.id}') == 0
    finally:
        worker.terminate()
        worker.wait(30)
    assert redis.Redis(port=port).hlen('unacked') == 0
    for db in (0, 1):
        redis.Redis(port=port, db=db).flushdb()


if __name__ == '__main__':
    check()
    print(f'Celery {celery.__version__}: works')
