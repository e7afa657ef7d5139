// KafkaJS as its users write it, against one broker: `node cases.js BOOTSTRAP [TEST]`. A line for each test: `PASS SECONDS NAME` or
// `FAIL SECONDS NAME` with the error below. suites/kafkajs.py installs KafkaJS beside it. BRONZE is where Strandline says which files
// a topic has, empty against Kafka.
'use strict'
const assert = require('node:assert')
const { Kafka, logLevel, CompressionTypes, ConfigResourceTypes, AssignerProtocol, Partitioners } = require('kafkajs')

const [bootstrap, only] = process.argv.slice(2)
const without = (process.env.WITHOUT || '').split('\n')
const kafka = new Kafka({ clientId: 'cases', brokers: [bootstrap], logLevel: logLevel.NOTHING, retry: { retries: 8 } })
const cases = []
const test = (name, run, seconds = 40) => cases.push({ name, run, seconds })
const sleep = milliseconds => new Promise(done => setTimeout(done, milliseconds))

async function until(what, condition, seconds = 25) {
  const end = Date.now() + seconds * 1000
  for (;;) {
    const value = await condition()
    if (value) return value
    if (Date.now() > end) throw new Error(`not within ${seconds} s: ${what}`)
    await sleep(100)
  }
}

async function withAdmin(run) {
  const admin = kafka.admin()
  await admin.connect()
  try { return await run(admin) } finally { await admin.disconnect() }
}

async function topic(name, partitions = 1, configEntries = []) {
  await withAdmin(async admin => {
    await admin.createTopics({ waitForLeaders: false, topics: [{ topic: name, numPartitions: partitions, configEntries }] })
    await until(`${name} is known`, () => admin.fetchTopicMetadata({ topics: [name] }).catch(() => null))
  })
  return name
}

async function send(name, messages, options = {}, more = {}) {
  const producer = kafka.producer({ createPartitioner: Partitioners.DefaultPartitioner, ...options })
  await producer.connect()
  try { return await producer.send({ topic: name, messages, ...more }) } finally { await producer.disconnect() }
}

// A running consumer and what it got.
async function member(group, topics, options = {}, run = {}) {
  const consumer = kafka.consumer({ groupId: group, sessionTimeout: 10000, heartbeatInterval: 1000, rebalanceTimeout: 10000, maxWaitTimeInMs: 200, ...options })
  const got = []
  const joins = []
  consumer.on(consumer.events.GROUP_JOIN, event => joins.push(event.payload.memberAssignment))
  await consumer.connect()
  await consumer.subscribe({ topics, fromBeginning: true })
  await consumer.run({ eachMessage: async ({ topic, partition, message }) => { got.push({ topic, partition, ...message }) }, ...run })
  return { consumer, got, joins, stop: () => consumer.disconnect() }
}

async function read(name, count, group = `${name}-reader`) {
  const one = await member(group, [name])
  try {
    await until(`${count} records of ${name}`, () => one.got.length >= count)
    return one.got
  } finally { await one.stop() }
}

// So many records of a topic are rows of files behind the same offsets; Kafka has no such thing.
async function inFiles(name, count) {
  assert.notStrictEqual(process.env.BRONZE, undefined)
  if (!process.env.BRONZE) return
  await until(`${count} records of ${name} are in files`, async () => {
    const found = (await (await fetch(process.env.BRONZE)).json()).find(entry => entry.topic === name)
    return found.files.reduce((rows, file) => rows + file.rows, 0) === count
  })
}

const values = got => got.map(message => message.value === null ? null : message.value.toString()).sort()
const numbers = (from, to) => Array.from({ length: to - from }, (_, at) => String(from + at))

test('cluster and topics', () => withAdmin(async admin => {
  const cluster = await admin.describeCluster()
  assert.strictEqual(cluster.brokers.length, 1)
  assert.ok(cluster.clusterId)
  assert.strictEqual(await admin.createTopics({ topics: [{ topic: 'js-topics', numPartitions: 3 }] }), true)
  assert.strictEqual(await admin.createTopics({ topics: [{ topic: 'js-topics', numPartitions: 3 }] }), false)
  assert.ok((await admin.listTopics()).includes('js-topics'))
  await admin.createPartitions({ topicPartitions: [{ topic: 'js-topics', count: 5 }] })
  const { topics } = await admin.fetchTopicMetadata({ topics: ['js-topics'] })
  assert.strictEqual(topics[0].partitions.length, 5)
  await admin.deleteTopics({ topics: ['js-topics'] })
  await until('it is gone', async () => !(await admin.listTopics()).includes('js-topics'))
}))

test('configurations', () => withAdmin(async admin => {
  await topic('js-configs', 1, [{ name: 'retention.ms', value: '70000' }])
  const resources = [{ type: ConfigResourceTypes.TOPIC, name: 'js-configs', configNames: ['retention.ms', 'cleanup.policy'] }]
  const before = (await admin.describeConfigs({ resources, includeSynonyms: true })).resources[0].configEntries
  assert.strictEqual(before.find(entry => entry.configName === 'retention.ms').configValue, '70000')
  await admin.alterConfigs({ resources: [{ type: ConfigResourceTypes.TOPIC, name: 'js-configs', configEntries: [{ name: 'cleanup.policy', value: 'compact' }] }] })
  const after = (await admin.describeConfigs({ resources })).resources[0].configEntries
  assert.strictEqual(after.find(entry => entry.configName === 'cleanup.policy').configValue, 'compact')
}))

test('keys, headers, nulls and times', async () => {
  await topic('js-records', 1, [{ name: 'retention.ms', value: '-1' }])
  await send('js-records', [
    { key: 'k1', value: 'v1', headers: { one: '1', many: ['a', 'b'], empty: '' }, timestamp: '1700000000000' },
    { key: 'k2', value: null, timestamp: '1700000000001' },
    { key: null, value: '', timestamp: '1700000000002' }
  ])
  const got = await read('js-records', 3)
  assert.deepStrictEqual(got.map(m => m.offset), ['0', '1', '2'])
  assert.deepStrictEqual(got.map(m => m.key && m.key.toString()), ['k1', 'k2', null])
  assert.deepStrictEqual(got.map(m => m.value && m.value.toString()), ['v1', null, ''])
  assert.deepStrictEqual(got.map(m => m.timestamp), ['1700000000000', '1700000000001', '1700000000002'])
  assert.strictEqual(got[0].headers.one.toString(), '1')
  assert.deepStrictEqual(got[0].headers.many.map(String), ['a', 'b'])
})

test('gzip and every acks', async () => {
  await topic('js-acks', 3)
  for (const acks of [-1, 0, 1]) {
    await send('js-acks', numbers(0, 50).map(value => ({ key: value, value })), {}, { acks, compression: CompressionTypes.GZIP })
  }
  assert.strictEqual((await read('js-acks', 150)).length, 150)
})

test('an idempotent producer', async () => {
  await topic('js-idempotent', 2)
  const producer = kafka.producer({ idempotent: true, maxInFlightRequests: 1, createPartitioner: Partitioners.DefaultPartitioner })
  await producer.connect()
  for (let at = 0; at < 20; at++) await producer.send({ topic: 'js-idempotent', messages: numbers(at * 50, at * 50 + 50).map(value => ({ value })) })
  await producer.disconnect()
  const got = await read('js-idempotent', 1000)
  assert.deepStrictEqual(values(got), numbers(0, 1000).sort())
})

test('batches to many topics', async () => {
  const names = ['js-many-a', 'js-many-b', 'js-many-c']
  for (const name of names) await topic(name, 4)
  const producer = kafka.producer({ createPartitioner: Partitioners.LegacyPartitioner })
  await producer.connect()
  await producer.sendBatch({ topicMessages: names.map(name => ({ topic: name, messages: numbers(0, 200).map(value => ({ key: value, value: value.repeat(50) })) })) })
  await producer.disconnect()
  const one = await member('js-many', [/js-many-.*/])
  await until('all are read', () => one.got.length >= 600)
  await one.stop()
  assert.strictEqual(one.got.length, 600)
})

test('a topic that is created by asking for it', async () => {
  await send('js-auto-created', [{ value: 'first' }])
  assert.deepStrictEqual(values(await read('js-auto-created', 1)), ['first'])
})

test('a group goes on where it was', async () => {
  await topic('js-resume', 3)
  await send('js-resume', numbers(0, 60).map(value => ({ key: value, value })))
  const first = await member('js-resume', ['js-resume'], {}, { autoCommitThreshold: 1 })
  await until('sixty', () => first.got.length >= 60)
  await first.stop()
  await send('js-resume', numbers(60, 100).map(value => ({ key: value, value })))
  const second = await member('js-resume', ['js-resume'])
  await until('forty more', () => second.got.length >= 40)
  await sleep(300)
  await second.stop()
  assert.deepStrictEqual(values(second.got), numbers(60, 100).sort())
})

test('two members share and one leaves', async () => {
  await topic('js-shared', 6)
  const one = await member('js-shared', ['js-shared'])
  await until('one has all', () => one.joins.length && one.joins.at(-1)['js-shared'] && one.joins.at(-1)['js-shared'].length === 6)
  const two = await member('js-shared', ['js-shared'])
  await until('each has three', () => two.joins.length && [one, two].every(m => (m.joins.at(-1)['js-shared'] || []).length === 3))
  await send('js-shared', numbers(0, 300).map(value => ({ key: value, value })))
  await until('all is read', () => one.got.length + two.got.length >= 300)
  await two.stop()
  await until('one has all again', () => one.joins.at(-1)['js-shared'].length === 6)
  await send('js-shared', numbers(300, 400).map(value => ({ key: value, value })))
  await until('the rest', () => one.got.length + two.got.length >= 400)
  await one.stop()
  assert.deepStrictEqual(values([...one.got, ...two.got]), numbers(0, 400).sort())
}, 60)

test('batches, manual commits and seek', async () => {
  await topic('js-manual')
  await send('js-manual', numbers(0, 100).map(value => ({ value })))
  const offsets = []
  const consumer = kafka.consumer({ groupId: 'js-manual', maxWaitTimeInMs: 200 })
  await consumer.connect()
  await consumer.subscribe({ topics: ['js-manual'], fromBeginning: true })
  await consumer.run({
    autoCommit: false,
    eachBatchAutoResolve: false,
    eachBatch: async ({ batch, resolveOffset, heartbeat, isRunning }) => {
      for (const message of batch.messages) {
        offsets.push(Number(message.offset))
        resolveOffset(message.offset)
      }
      await heartbeat()
      assert.ok(isRunning())
      assert.strictEqual(batch.highWatermark, '100')
    }
  })
  await until('a hundred', () => offsets.length >= 100)
  await consumer.commitOffsets([{ topic: 'js-manual', partition: 0, offset: '70', metadata: 'mine' }])
  consumer.seek({ topic: 'js-manual', partition: 0, offset: '95' })
  await until('five again', () => offsets.length >= 105)
  await consumer.disconnect()
  assert.deepStrictEqual(offsets.slice(100), [95, 96, 97, 98, 99])
  await withAdmin(async admin => {
    const [found] = await admin.fetchOffsets({ groupId: 'js-manual', topics: ['js-manual'] })
    assert.strictEqual(found.partitions[0].offset, '70')
    assert.strictEqual(found.partitions[0].metadata, 'mine')
  })
})

test('pause and resume', async () => {
  await topic('js-paused')
  const one = await member('js-paused', ['js-paused'])
  await until('joined', () => one.joins.length)
  one.consumer.pause([{ topic: 'js-paused' }])
  await send('js-paused', [{ value: 'later' }])
  await sleep(1000)
  assert.strictEqual(one.got.length, 0)
  one.consumer.resume([{ topic: 'js-paused' }])
  await until('it comes', () => one.got.length === 1)
  await one.stop()
})

test('offsets by admin', () => withAdmin(async admin => {
  await topic('js-offsets', 2, [{ name: 'retention.ms', value: '-1' }])
  await send('js-offsets', numbers(0, 20).map(value => ({ partition: Number(value) % 2, value, timestamp: String(1700000000000 + Number(value)) })))
  const ends = await admin.fetchTopicOffsets('js-offsets')
  assert.deepStrictEqual(ends.map(e => [e.partition, e.offset, e.high, e.low]).sort(), [[0, '10', '10', '0'], [1, '10', '10', '0']])
  const byTime = await admin.fetchTopicOffsetsByTimestamp('js-offsets', 1700000000010)
  assert.deepStrictEqual(byTime.map(e => [e.partition, e.offset]).sort(), [[0, '5'], [1, '5']])
  await admin.setOffsets({ groupId: 'js-offsets', topic: 'js-offsets', partitions: [{ partition: 0, offset: '3' }, { partition: 1, offset: '4' }] })
  const [set] = await admin.fetchOffsets({ groupId: 'js-offsets', topics: ['js-offsets'] })
  assert.deepStrictEqual(set.partitions.map(p => [p.partition, p.offset]).sort(), [[0, '3'], [1, '4']])
  await admin.resetOffsets({ groupId: 'js-offsets', topic: 'js-offsets', earliest: true })
  await admin.deleteTopicRecords({ topic: 'js-offsets', partitions: [{ partition: 0, offset: '6' }] })
  const cut = await admin.fetchTopicOffsets('js-offsets')
  assert.strictEqual(cut.find(e => e.partition === 0).low, '6')
}))

test('groups by admin', () => withAdmin(async admin => {
  await topic('js-groups')
  await send('js-groups', [{ value: 'x' }])
  const one = await member('js-groups', ['js-groups'])
  await until('it reads', () => one.got.length === 1)
  assert.ok((await admin.listGroups()).groups.some(group => group.groupId === 'js-groups' && group.protocolType === 'consumer'))
  const { groups: [described] } = await admin.describeGroups(['js-groups'])
  assert.strictEqual(described.state, 'Stable')
  const assigned = AssignerProtocol.MemberAssignment.decode(described.members[0].memberAssignment)
  assert.deepStrictEqual(assigned.assignment, { 'js-groups': [0] })
  await assert.rejects(admin.deleteGroups(['js-groups']))
  await one.stop()
  await until('it is empty', async () => (await admin.describeGroups(['js-groups'])).groups[0].state === 'Empty')
  await admin.deleteGroups(['js-groups'])
  assert.ok(!(await admin.listGroups()).groups.some(group => group.groupId === 'js-groups'))
}))

test('large records', async () => {
  await topic('js-large', 1, [{ name: 'max.message.bytes', value: '6000000' }])
  await send('js-large', [{ key: 'big', value: Buffer.alloc(5000000, 7) }])
  const [got] = await read('js-large', 1)
  assert.ok(got.value.equals(Buffer.alloc(5000000, 7)))
  await topic('js-small', 1, [{ name: 'max.message.bytes', value: '1000' }])
  await assert.rejects(send('js-small', [{ value: 'x'.repeat(5000) }]), /larger|too large/i)
})

test('what does not exist is refused', async () => {
  const admin = kafka.admin({ retry: { retries: 1 } })
  await admin.connect()
  try {
    await assert.rejects(admin.fetchTopicMetadata({ topics: ['js bad name'] }))
    await assert.rejects(admin.fetchTopicOffsets('js-not-there'))
  } finally { await admin.disconnect() }
  await assert.rejects(send('js bad name', [{ value: 'x' }], { retry: { retries: 1 } }))
})

test('reading history from files', async () => {
  await topic('js-history', 2)
  await send('js-history', numbers(0, 2000).map(value => ({ partition: Number(value) % 2, key: value, value, headers: { n: value } })))
  await inFiles('js-history', 2000)
  const got = await read('js-history', 2000)
  assert.deepStrictEqual(values(got), numbers(0, 2000).sort())
  assert.ok(got.every(m => m.headers.n.toString() === m.value.toString() && m.key.toString() === m.value.toString()))
}, 60)

test('transactions', async () => {
  await topic('js-transactions')
  const producer = kafka.producer({ transactionalId: 'js-transactions', maxInFlightRequests: 1, idempotent: true, createPartitioner: Partitioners.DefaultPartitioner, retry: { retries: 2 } })
  await producer.connect()
  try {
    const transaction = await producer.transaction()
    await transaction.send({ topic: 'js-transactions', messages: [{ value: 'x' }] })
    await transaction.commit()
  } finally { await producer.disconnect() }
})

async function main() {
  for (const { name, run, seconds } of cases) {
    if (without.includes(name) || only && name !== only) continue
    const began = Date.now()
    let late
    try {
      await Promise.race([run(), new Promise((_, refuse) => { late = setTimeout(() => refuse(new Error(`longer than ${seconds} s`)), seconds * 1000) })])
      console.log(`PASS ${(Date.now() - began) / 1000} ${name}`)
    } catch (error) {
      console.log(`FAIL ${(Date.now() - began) / 1000} ${name}`)
      console.log((error && error.stack) || error)
    } finally { clearTimeout(late) }
  }
  process.exit(0)
}

process.on('unhandledRejection', error => console.log('unhandled', error))
main()
