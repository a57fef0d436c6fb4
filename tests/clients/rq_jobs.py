"""RQ: jobs that work, fail and are tried again, depend on others, wait for their time, and a worker that does them."""
import sys
from datetime import timedelta

import redis
import rq
from rq.job import JobStatus
from rq.registry import FailedJobRegistry, FinishedJobRegistry, ScheduledJobRegistry
from rq.scheduler import RQScheduler

port = int(sys.argv[1])


def add(a, b):
    return a + b


def fail():
    raise ValueError('on purpose')


def check():
    sys.modules['rq_jobs'] = sys.modules['__main__']
    client = redis.Redis(port=port)
    client.flushdb()
    queue = rq.Queue('work', connection=client)
    low = rq.Queue('low', connection=client)
    jobs = [queue.enqueue('rq_jobs.add', n, 1) for n in range(20)]
    jobs += queue.enqueue_many([rq.Queue.prepare_data('rq_jobs.add', (n, 1)) for n in range(20, 25)])
    last = low.enqueue('rq_jobs.add', 1, 2, depends_on=jobs)
    broken = low.enqueue('rq_jobs.fail')
    again = low.enqueue('rq_jobs.fail', retry=rq.Retry(max=2))
    at_front = queue.enqueue('rq_jobs.add', 0, 0, at_front=True)
    assert queue.job_ids[0] == at_front.id and len(queue) == 26

    def work():
        rq.SimpleWorker([queue, low], connection=client).work(burst=True, logging_level='ERROR')

    work()
    assert [job.return_value(refresh=True) for job in jobs] == list(range(1, 26))
    assert last.get_status() == JobStatus.FINISHED and last.return_value(refresh=True) == 3
    assert broken.get_status() == JobStatus.FAILED and 'on purpose' in broken.latest_result().exc_string
    again.refresh()
    assert again.get_status() == JobStatus.FAILED and again.retries_left == 0
    failed = FailedJobRegistry(queue=low)
    assert set(failed.get_job_ids()) == {broken.id, again.id}
    failed.requeue(broken.id)
    assert broken.get_status() == JobStatus.QUEUED
    work()
    assert broken.get_status() == JobStatus.FAILED
    assert len(FinishedJobRegistry(queue=queue)) == 26

    # A worker that forks for each job, as `rq worker` does.
    forked = queue.enqueue('builtins.sum', [1, 2, 3])
    rq.Worker([queue], connection=client).work(burst=True, logging_level='ERROR')
    assert forked.return_value(refresh=True) == 6

    later = queue.enqueue_in(timedelta(seconds=0), 'rq_jobs.add', 3, 4)
    much_later = queue.enqueue_in(timedelta(hours=1), 'rq_jobs.add', 3, 4)
    assert len(ScheduledJobRegistry(queue=queue)) == 2
    scheduler = RQScheduler([queue], connection=client)
    scheduler.acquire_locks()
    scheduler.enqueue_scheduled_jobs()
    scheduler.release_locks()
    work()
    assert later.return_value(refresh=True) == 7 and much_later.get_status() == JobStatus.SCHEDULED
    much_later.cancel()
    assert much_later.is_canceled
    much_later.delete()
    assert queue.empty() == 0 and not rq.Worker.all(connection=client)
    client.flushdb()


if __name__ == '__main__':
    check()
    print(f'RQ {rq.VERSION}: works')
