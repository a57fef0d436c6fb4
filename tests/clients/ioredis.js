// ioredis with its defaults: what people do first.
'use strict'
const assert = require('assert')
const Redis = require('ioredis')
const { version } = require('ioredis/package.json')

async function main() {
  const client = new Redis(Number(process.argv[2]))
  await client.flushdb()
  assert.strictEqual(await client.ping(), 'PONG')
  assert.strictEqual(await client.set('k', 'v', 'EX', 100), 'OK')
  assert.strictEqual(await client.get('k'), 'v')
  assert.strictEqual(await client.get('none'), null)
  assert.strictEqual(await client.incrby('n', 42), 42)
  assert.deepStrictEqual(await client.mget('k', 'none', 'n'), ['v', null, '42'])
  const pipe = client.pipeline()
  for (let n = 0; n < 500; n++) pipe.set(`p:${n}`, n)
  const replies = await pipe.exec()
  assert(replies.every(([error, reply]) => error === null && reply === 'OK'))
  const keys = new Set()
  for await (const batch of client.scanStream({ match: 'p:*', count: 7 })) batch.forEach(key => keys.add(key))
  assert.strictEqual(keys.size, 500)
  assert.match(await client.info(), /redis_version:7\.2\./)
  await assert.rejects(client.incr('k'), /not an integer/)
  const value = Buffer.alloc(1 << 20, 7)
  await client.set('big', value)
  assert((await client.getBuffer('big')).equals(value))
  await client.quit()
  console.log(`ioredis ${version}: works`)
}

main().catch(error => { console.error(error); process.exit(1) })
