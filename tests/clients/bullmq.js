// BullMQ: queues, workers, events, delays, priorities, retries, repetition, flows, rate limits, pauses.
'use strict'
const assert = require('assert')
const { Queue, Worker, QueueEvents, FlowProducer, Job } = require('bullmq')
const Redis = require('ioredis')
const { version } = require('bullmq/package.json')

const connection = { host: '127.0.0.1', port: Number(process.argv[2]), maxRetriesPerRequest: null }
const prefix = process.argv[3] || 'bull'
const options = { connection, prefix }

async function main() {
  const client = new Redis(connection)
  await client.flushdb()
  const queue = new Queue('work', options)
  queue.setMaxListeners(0)
  const events = new QueueEvents('work', options)
  await events.waitUntilReady()
  const seen = { completed: 0, failed: 0, delayed: 0, progress: 0 }
  for (const name of Object.keys(seen)) events.on(name, () => { seen[name]++ })
  const order = []
  const worker = new Worker('work', async job => {
    order.push(job.name)
    if (job.name === 'fail') throw new Error('on purpose')
    if (job.name === 'flaky' && job.attemptsMade < 2) throw new Error('not yet')
    await job.updateProgress(50)
    await job.log('done')
    return (job.data.a || 0) + (job.data.b || 0)
  }, { ...options, concurrency: 4 })
  await worker.waitUntilReady()
  const done = job => job.waitUntilFinished(events, 20000)

  assert.strictEqual(await done(await queue.add('add', { a: 1, b: 2 })), 3)
  const many = await queue.addBulk(Array.from({ length: 50 }, (_, n) => ({ name: 'add', data: { a: n, b: n } })))
  assert.deepStrictEqual(await Promise.all(many.map(done)), many.map((_, n) => 2 * n))
  await assert.rejects(done(await queue.add('fail', {})), /on purpose/)
  assert.strictEqual(await done(await queue.add('flaky', { a: 4 }, { attempts: 3, backoff: { type: 'fixed', delay: 50 } })), 4)
  const started = Date.now()
  assert.strictEqual(await done(await queue.add('add', { a: 5 }, { delay: 700 })), 5)
  assert(Date.now() - started >= 690)
  // Somebody waits in BZPOPMIN by now: what is added later is done at once.
  await new Promise(resolve => setTimeout(resolve, 300))
  const waited = Date.now()
  await done(await queue.add('add', { a: 1 }))
  assert(Date.now() - waited < 2000)

  await queue.pause()
  await new Promise(resolve => setTimeout(resolve, 100))
  const paused = await Promise.all([
    queue.add('third', {}, { priority: 30 }), queue.add('first', {}, { priority: 1 }), queue.add('second', {}, { priority: 20 })])
  assert(await queue.isPaused())
  assert.strictEqual((await queue.getJobCounts('prioritized', 'paused', 'wait')).prioritized, 3)
  await queue.resume()
  await Promise.all(paused.map(done))
  assert.deepStrictEqual(order.slice(-3), ['first', 'second', 'third'])

  const failed = await queue.getFailed()
  assert.strictEqual(failed.length, 1)
  await failed[0].retry()
  await assert.rejects(done(failed[0]), /on purpose/)
  assert.strictEqual((await queue.getJobLogs(many[0].id)).logs[0], 'done')
  assert.strictEqual((await Job.fromId(queue, many[7].id)).returnvalue, 14)

  await queue.upsertJobScheduler('often', { every: 200, limit: 3 }, { name: 'repeated', data: {} })
  for (let n = 0; n < 100 && order.filter(name => name === 'repeated').length < 3; n++) await new Promise(resolve => setTimeout(resolve, 100))
  assert.strictEqual(order.filter(name => name === 'repeated').length, 3)
  await queue.removeJobScheduler('often')

  const flow = new FlowProducer(options)
  const tree = await flow.add({
    name: 'add', queueName: 'work', data: { a: 100 },
    children: [1, 2, 3].map(a => ({ name: 'add', queueName: 'work', data: { a } })) })
  assert.strictEqual(await done(tree.job), 100)
  assert.deepStrictEqual(Object.values(await tree.job.getChildrenValues()).sort(), [1, 2, 3])

  const limited = new Queue('limited', options)
  const limitedEvents = new QueueEvents('limited', options)
  await limitedEvents.waitUntilReady()
  const slow = new Worker('limited', async () => Date.now(), { ...options, limiter: { max: 2, duration: 500 } })
  const times = await Promise.all((await limited.addBulk(Array.from({ length: 5 }, () => ({ name: 'x', data: {} })))).map(
    job => job.waitUntilFinished(limitedEvents, 20000)))
  assert(Math.max(...times) - Math.min(...times) >= 900, `${times}`)

  assert(seen.completed >= 55 && seen.failed >= 2 && seen.delayed >= 1 && seen.progress >= 50, JSON.stringify(seen))
  await queue.clean(0, 1000, 'completed')
  assert.strictEqual(await queue.getCompletedCount(), 0)
  await Promise.all([worker.close(), slow.close(), events.close(), limitedEvents.close(), flow.close()])
  await queue.obliterate({ force: true })
  await Promise.all([queue.close(), limited.close()])
  await client.flushdb()
  await client.quit()
  console.log(`BullMQ ${version}: works`)
}

main().then(() => process.exit(0), error => { console.error(error); process.exit(1) })
