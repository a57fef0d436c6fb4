// node-redis over RESP2 and RESP3: commands, MULTI, publish/subscribe, iterators, blocking reads, streams, scripts, pools.
'use strict'
const assert = require('assert')
const { createClient, createClientPool, defineScript, WatchError } = require('redis')
const { version } = require('redis/package.json')

const port = Number(process.argv[2])
const double = defineScript({
  SCRIPT: "return redis.call('incrby', KEYS[1], ARGV[1]) * 2", NUMBER_OF_KEYS: 1, FIRST_KEY_INDEX: 1,
  parseCommand(parser, key, n) { parser.pushKey(key); parser.push(String(n)) }, transformReply: reply => reply })

async function check(RESP) {
  const client = createClient({ socket: { port }, RESP, scripts: { double } })
  client.on('error', error => { throw error })
  await client.connect()
  await client.flushDb()
  assert.strictEqual(await client.ping(), 'PONG')
  assert.strictEqual(await client.set('k', 'v', { expiration: { type: 'EX', value: 100 } }), 'OK')
  assert.strictEqual(await client.get('k'), 'v')
  assert.deepStrictEqual(await client.mGet(['k', 'none']), ['v', null])
  assert.deepStrictEqual(await client.multi().set('m', '1').incr('m').get('m').exec(), ['OK', 2, '2'])
  assert.strictEqual((await Promise.all(Array.from({ length: 500 }, (_, n) => client.set(`p:${n}`, n)))).length, 500)
  const keys = new Set()
  for await (const batch of client.scanIterator({ MATCH: 'p:*', COUNT: 7 })) batch.forEach(key => keys.add(key))
  assert.strictEqual(keys.size, 500)
  assert.strictEqual(await client.hSet('h', { a: '1', b: '2' }), 2)
  assert.deepStrictEqual({ ...await client.hGetAll('h') }, { a: '1', b: '2' })
  const fields = {}
  for await (const batch of client.hScanIterator('h')) for (const { field, value } of batch) fields[field] = value
  assert.deepStrictEqual(fields, { a: '1', b: '2' })
  assert.strictEqual(await client.zAdd('z', [{ score: 1, value: 'one' }, { score: 2.5, value: 'two' }]), 2)
  assert.deepStrictEqual(await client.zRangeWithScores('z', 0, -1), [{ value: 'one', score: 1 }, { value: 'two', score: 2.5 }])
  assert.strictEqual(await client.zScore('z', 'two'), 2.5)
  const id = await client.xAdd('x', '*', { a: '1' })
  assert.strictEqual((await client.xRange('x', '-', '+'))[0].id, id)
  assert.strictEqual((await client.xRead({ key: 'x', id: '0' }))[0].messages[0].message.a, '1')
  assert.strictEqual(await client.double('n', 21), 42)
  await assert.rejects(client.incr('k'), /not an integer/)
  assert.match(await client.info(), /redis_version:7\.2\./)

  const watched = client.duplicate()
  await watched.connect()
  await watched.watch('k')
  await client.set('k', 'w')
  await assert.rejects(watched.multi().set('k', 'x').exec(), WatchError)

  const subscriber = client.duplicate()
  await subscriber.connect()
  const got = []
  await subscriber.subscribe('news', message => got.push(message))
  await subscriber.pSubscribe('n*', message => got.push(message))
  await subscriber.sSubscribe('shard', message => got.push(message))
  assert.strictEqual(await client.publish('news', 'x'), 2)
  assert.strictEqual(await client.sPublish('shard', 'y'), 1)
  while (got.length < 3) await new Promise(resolve => setTimeout(resolve, 10))
  assert.deepStrictEqual(got.sort(), ['x', 'x', 'y'])
  await subscriber.unsubscribe()
  await subscriber.pUnsubscribe()
  await subscriber.sUnsubscribe()

  const pop = watched.blPop('list', 5)
  await client.rPush('list', 'item')
  assert.deepStrictEqual({ ...await pop }, { key: 'list', element: 'item' })

  const pool = await createClientPool({ socket: { port }, RESP }, { minimum: 2, maximum: 5 }).connect()
  assert.strictEqual((await Promise.all(Array.from({ length: 100 }, () => pool.incr('pooled')))).length, 100)
  assert.strictEqual(await client.get('pooled'), '100')
  await pool.close()
  const value = Buffer.alloc(1 << 20, 7).toString()
  await client.set('big', value)
  assert.strictEqual(await client.get('big'), value)
  await client.flushDb()
  await Promise.all([client, watched, subscriber].map(one => one.close()))
}

// Its cache is kept right by invalidations: of what it has read, and by prefix.
async function checkCache(options) {
  const cached = createClient({ socket: { port }, RESP: 3, clientSideCache: { ttl: 0, maxEntries: 0, ...options } })
  cached.on('error', error => { throw error })
  await cached.connect()
  const other = await createClient({ socket: { port } }).connect()
  const calls = async () => Number(/cmdstat_get:calls=(\d+)/.exec(await other.info('commandstats'))[1])
  const keys = Array.from({ length: 20 }, (_, n) => `cached:${n}`)
  const all = () => Promise.all(keys.map(key => cached.get(key)))
  const until = async value => {
    for (let n = 0; n < 200; n++) {
      if ((await all()).every(got => got === value)) return
      await new Promise(resolve => setTimeout(resolve, 10))
    }
    throw new Error(`what is cached is old: ${await all()}`)
  }
  for (const key of keys) await other.set(key, '1')
  await until('1')
  const before = await calls()
  assert((await all()).every(got => got === '1'))
  assert.strictEqual(await calls(), before, 'they came from the cache')
  for (const key of keys) await other.set(key, '2')
  await until('2')
  await other.flushDb()
  await until(null)
  await Promise.all([cached.close(), other.close()])
}

async function main() {
  await check(2)
  await check(3)
  await checkCache({})
  console.log(`node-redis ${version}: works`)
}

main().catch(error => { console.error(error); process.exit(1) })
