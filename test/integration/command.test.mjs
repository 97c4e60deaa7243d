// The command protocol, spoken with the real daemon. Most tests are the libp2p
// node themselves: what the daemon has to say, and when, is in their hands.
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import test from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { commandClient, delimited, encode, eventOf, fedDaemon } from './command-client.mjs'
import { client, daemon, FRUGAL, memory, undisturbed } from './daemon.mjs'
import { completed } from './recording.mjs'

const INTERVAL_MIN = 500
const RETENTION_MAX = 120000
const HISTORY_MIN = 131072
const verbose = [/^(open|closing|closed) peer=/]

const numbersOf = events => events.map(event => event.ts)
const range = (from, to) => Array.from({ length: to - from + 1 }, (_, i) => from + i)
const assertRising = list => assert.deepEqual(list, [...new Set(list)].sort((a, b) => a - b))

async function greeted (t, d, config) {
  const c = await commandClient(t, d.ws)
  c.config = (await c.ok('HELLO', { config })).effectiveConfig
  return c
}

// By the second answer all has come that was due when the first was written.
async function settled (c) {
  await c.ping()
  await c.ping()
}

const kinds = c => c.received.map(message => message.payload)

test('nothing is sent before HELLO, and nothing is done', async t => {
  const d = await fedDaemon(t)
  const c = await commandClient(t, d.ws)
  const pull = await client(t, d.ws)
  for (let i = 0; i < 3; i++) await pull.next()
  d.node.event()
  await pull.next()
  await settled(c)
  assert.deepEqual(c.received, [])
  for (const [command, fields] of [['REQUEST', { source: 'STATE' }], ['REQUEST', { source: 'RUNTIME' }],
    ['PUSH_ENABLE', { source: 'STATE' }], ['PUSH_ENABLE', { source: 'EVENTS' }],
    ['PUSH_DISABLE', { source: 'STATE' }], ['PUSH_PAUSE'], ['PUSH_RESUME'],
    ['UPDATE_CONFIG', { config: { retentionPeriodMs: 1 } }], [6]]) {
    await c.refused(command, fields, /HELLO must come first/)
  }
  assert.deepEqual((await c.ok('HELLO')).effectiveConfig,
    { stateSnapshotIntervalMs: 1000, retentionPeriodMs: RETENTION_MAX })
  d.node.event()
  await pull.next()
  await settled(c)
  assert.deepEqual(kinds(c), Array(10).fill('response'))
})

test('a second HELLO is refused and changes nothing', async t => {
  const d = await fedDaemon(t)
  const c = await greeted(t, d, { stateSnapshotIntervalMs: 700 })
  await c.refused('HELLO', { config: { stateSnapshotIntervalMs: 900 } }, /HELLO/)
  assert.equal((await c.ok('UPDATE_CONFIG', { config: {} })).effectiveConfig.stateSnapshotIntervalMs, 700)
})

test('configuration: defaults, limits, what HELLO and UPDATE_CONFIG answer', async t => {
  const d = await fedDaemon(t)
  const slow = await fedDaemon(t, { interval: 2000 })
  const big = '18446744073709551615'
  const rows = [
    [d, undefined, 1000, RETENTION_MAX],
    [d, {}, 1000, RETENTION_MAX],
    [d, { stateSnapshotIntervalMs: 0, retentionPeriodMs: 0 }, 1000, RETENTION_MAX],
    [d, { stateSnapshotIntervalMs: 2000, retentionPeriodMs: 120000 }, 2000, 120000],
    [d, { stateSnapshotIntervalMs: 1 }, INTERVAL_MIN, RETENTION_MAX],
    [d, { stateSnapshotIntervalMs: INTERVAL_MIN - 1 }, INTERVAL_MIN, RETENTION_MAX],
    [d, { stateSnapshotIntervalMs: INTERVAL_MIN + 1 }, INTERVAL_MIN + 1, RETENTION_MAX],
    [d, { retentionPeriodMs: 1 }, 1000, 1],
    [d, { retentionPeriodMs: RETENTION_MAX + 1 }, 1000, RETENTION_MAX],
    [d, { stateSnapshotIntervalMs: big, retentionPeriodMs: big }, 2 ** 31 - 1, RETENTION_MAX],
    [slow, undefined, 2000, RETENTION_MAX],
    [slow, { stateSnapshotIntervalMs: 1999 }, 2000, RETENTION_MAX],
    [slow, { stateSnapshotIntervalMs: 2001 }, 2001, RETENTION_MAX]
  ]
  for (const [where, config, stateSnapshotIntervalMs, retentionPeriodMs] of rows) {
    const c = await greeted(t, where, config)
    assert.deepEqual(c.config, { stateSnapshotIntervalMs, retentionPeriodMs })
    c.socket.close()
  }
})

test('UPDATE_CONFIG: needs a Configuration, changes only what it names, takes effect at once', async t => {
  const d = await fedDaemon(t)
  const c = await greeted(t, d, { stateSnapshotIntervalMs: 3000000, retentionPeriodMs: 5000 })
  const update = async config => (await c.ok('UPDATE_CONFIG', { config })).effectiveConfig
  await c.refused('UPDATE_CONFIG', {}, /Configuration/)
  assert.deepEqual(await update({ retentionPeriodMs: 7000 }), { stateSnapshotIntervalMs: 3000000, retentionPeriodMs: 7000 })
  await c.ok('PUSH_ENABLE', { source: 'STATE' })
  await c.count('states', 1)
  assert.deepEqual(await update({ stateSnapshotIntervalMs: 600 }), { stateSnapshotIntervalMs: 600, retentionPeriodMs: 7000 })
  await c.count('states', 3)
  assert.deepEqual(await update({ stateSnapshotIntervalMs: 1, retentionPeriodMs: 1e9 }),
    { stateSnapshotIntervalMs: INTERVAL_MIN, retentionPeriodMs: RETENTION_MAX })
})

test('Version 1, 0, empty and none are accepted', async t => {
  const d = await fedDaemon(t)
  for (const version of [{ version: 1 }, { version: 0 }, {}, undefined]) {
    await (await commandClient(t, d.ws)).ok('HELLO', { version })
  }
})

test('REQUEST answers with the payload itself, each one, under a new sequence', async t => {
  const d = await fedDaemon(t)
  d.node.send({ runtime: { implementation: 'test', peerId: 'me', eventTypes: [{ name: 'Test' }] } })
  const c = await greeted(t, d)
  c.send('REQUEST', { source: 'STATE' })
  await c.count('states', 1)
  c.send('REQUEST', { source: 'STATE' })
  c.send('REQUEST', { source: 'STATE' })
  c.send('REQUEST', { source: 'RUNTIME' })
  await c.count('states', 3)
  await c.count('runtimes', 1)
  assertRising(c.sequences())
  assert.equal(c.runtimes[0].peerId, 'me')
  assert.equal(c.runtimes[0].source, 'feed')
  assert.equal(c.runtimes[0].eventTypes[0].name, 'Test')
  d.node.send({ runtime: { implementation: 'test', peerId: 'you' } })
  d.node.automatic = false
  c.send('REQUEST', { source: 'STATE' })   // read by the daemon behind the runtime
  await d.node.askedFor(d.node.asked.length + 1)
  for (const n of [2, 3]) {
    c.send('REQUEST', { source: 'RUNTIME' })
    assert.equal((await c.count('runtimes', n)).peerId, 'you')
  }
  d.node.state()
  await c.count('states', 4)
  await c.refused('REQUEST', { source: 'EVENTS' }, /events cannot be requested/)
  await c.refused('REQUEST', { source: 9 }, /unknown source/)
  assert.equal(c.responses.length, 3)   // HELLO's and these two
})

test('a requested state may be an old one only if the node has no other', async t => {
  const d = await fedDaemon(t)
  const pull = await client(t, d.ws)
  await pull.received(1)
  const old = () => delay(50)   // longer than the interval
  await old()
  const c = await greeted(t, d)
  c.send('REQUEST', { source: 'STATE' })
  assert.equal((await c.count('states', 1)).sequence, 2)
  for (let i = 0; i < 2; i++) await pull.next()
  const last = pull.sequences().at(-1)   // 3, or 4 where the machine is slower than the interval
  d.node.automatic = false
  await old()
  c.send('REQUEST', { source: 'STATE' })
  await c.count('states', 2)
  assert.equal(c.states[1].sequence, last)
  assert.deepEqual(c.received.at(-1).message, await completed(pull.raw[2]))
  c.send('REQUEST', { source: 'STATE' })
  await delay(1200)   // longer than the daemon waits for the node
  assert.equal(c.states.length, 2)
  d.node.state()
  assert.equal((await c.count('states', 3)).sequence, last + 1)
})

test('what is pushed is fresh, but not taken twice', async t => {
  const interval = 600
  await undisturbed(async () => {
    const d = await fedDaemon(t, { interval })
    const pull = await client(t, d.ws)
    await pull.received(1)
    await delay(interval + 50)
    const start = performance.now()
    const c = await greeted(t, d)
    await c.ok('PUSH_ENABLE', { source: 'STATE' })
    const first = await c.count('states', 1)
    const late = await greeted(t, d)
    await late.ok('PUSH_ENABLE', { source: 'STATE' })
    await late.count('states', 1)
    if (performance.now() - start > interval) return
    assert.equal(first.sequence, 2)
    assert.deepEqual(late.received.at(-1).message, c.received.find(m => m.state).message)
    return true
  })
})

test('PUSH_ENABLE and PUSH_DISABLE', async t => {
  const d = await fedDaemon(t)
  const c = await greeted(t, d, { stateSnapshotIntervalMs: INTERVAL_MIN })
  const pull = await client(t, d.ws)
  const others = async () => {
    for (const end = performance.now() + INTERVAL_MIN + 100; performance.now() < end;) await pull.next()
    d.node.event()
    await pull.next()
    await settled(c)
  }
  for (const command of ['PUSH_ENABLE', 'PUSH_DISABLE']) {
    await c.refused(command, { source: 'RUNTIME' }, /Runtime is not pushed/)
    await c.refused(command, { source: 9 }, /unknown source/)
    await c.ok('PUSH_DISABLE', { source: 'STATE' })
    await c.ok('PUSH_DISABLE', { source: 'EVENTS' })
  }
  await others()
  assert.ok(kinds(c).every(kind => kind === 'response'))

  await c.ok('PUSH_ENABLE', { source: 'EVENTS' })
  await c.ok('PUSH_ENABLE', { source: 'EVENTS' })
  await others()
  assert.deepEqual(numbersOf(c.events), [d.node.events])
  assert.equal(c.states.length, 0)

  await c.ok('PUSH_DISABLE', { source: 'EVENTS' })
  await c.ok('PUSH_ENABLE', { source: 'STATE' })
  await c.ok('PUSH_ENABLE', { source: 'STATE' })
  await others()
  await c.count('states', 3)
  assert.equal(c.events.length, 1)

  await c.ok('PUSH_DISABLE', { source: 'STATE' })
  const { length } = c.states
  await others()
  assert.equal(c.states.length, length)
  assertRising(c.sequences())
})

test('unknown commands', async t => {
  const d = await fedDaemon(t)
  const c = await greeted(t, d)
  for (const command of [6, 8, 1000]) await c.refused(command, {}, /unknown command/)
})

test('a burst as the toolkit sends it, at the interval that it asked for', async t => {
  const d = await fedDaemon(t)
  const interval = 2000
  const c = await commandClient(t, d.ws)
  const hello = await c.ok('HELLO', { version: {}, config: { stateSnapshotIntervalMs: interval, retentionPeriodMs: 120000 } })
  assert.deepEqual(hello.effectiveConfig, { stateSnapshotIntervalMs: interval, retentionPeriodMs: 120000 })
  c.tcp.cork()
  c.send('REQUEST', { version: {}, source: 'RUNTIME' })
  c.send('PUSH_ENABLE', { version: {}, source: 'EVENTS' })
  c.send('PUSH_ENABLE', { version: {}, source: 'STATE' })
  c.tcp.uncork()
  await c.count('states', 3)
  assert.deepEqual(kinds(c), ['response', 'runtime', 'response', 'response', 'state', 'state', 'state'])
  // The daemon asks the node an interval after it took what the node said last.
  const gaps = d.node.asked.slice(1, 3).map((at, i) => at - d.node.asked[i])
  for (const gap of gaps) assert.ok(gap > interval - 5, `${gap} ms between two states`)
})

test('everything in one burst, HELLO included', async t => {
  const d = await fedDaemon(t)
  const c = await commandClient(t, d.ws)
  c.tcp.cork()
  for (const [command, source] of [['HELLO'], ['REQUEST', 'RUNTIME'], ['PUSH_ENABLE', 'EVENTS'],
    ['PUSH_ENABLE', 'STATE'], ['REQUEST', 'EVENTS'], ['REQUEST', 'STATE']]) c.send(command, { source })
  c.tcp.uncork()
  await c.count('states', 1)
  assert.deepEqual(c.responses.map(r => [r.id, r.result]), [[1, 'OK'], [3, 'OK'], [4, 'OK'], [5, 'ERR']])
  assert.equal(kinds(c)[1], 'runtime')
})

test('commands in fragments with pings between them, and byte by byte', async t => {
  const d = await fedDaemon(t)
  const c = await commandClient(t, d.ws)
  const bytes = encode('HELLO', { id: 7, config: { stateSnapshotIntervalMs: 900 } })
  for (const [i, byte] of bytes.entries()) {
    c.socket.send(Buffer.from([byte]), { binary: true, fin: i === bytes.length - 1 })
    if (i % 3 === 0) c.socket.ping(`${i}`)
  }
  assert.equal((await c.answer(7)).effectiveConfig.stateSnapshotIntervalMs, 900)
  c.tcp.setNoDelay(true)
  const write = c.tcp.write
  c.tcp.write = (data, ...rest) => {   // what the library writes, one byte in a packet
    for (const byte of Buffer.from(data)) write.call(c.tcp, Buffer.from([byte]))
    rest.find(argument => typeof argument === 'function')?.()
    return true
  }
  for (let i = 0; i < 5; i++) await c.ok('UPDATE_CONFIG', { config: { retentionPeriodMs: 100 + i } })
})

test('bytes that are no ClientCommand close the connection with 1007, others go on', async t => {
  const d = await fedDaemon(t)
  const other = await greeted(t, d)
  const rows = ['08', 'ff', '0a05', '1a', '10ffffffffffffffffffff01', '13', '0f', '1001ff', '2a0208', '2a0410ff',
    '15010000', '1500000000', '0a0308ff', '00', '0001', 'fffffffffffffffffff001', '2affffffff0f']
  for (const row of rows) {
    for (const hello of [false, true]) {
      const c = hello ? await greeted(t, d) : await commandClient(t, d.ws)
      c.socket.send(Buffer.from(row, 'hex'))
      assert.equal((await c.closed).code, 1007, row)
    }
  }
  await other.ok('PUSH_RESUME')
})

test('every truncation of a command is answered or closes with 1007', async t => {
  const d = await fedDaemon(t)
  const whole = encode('HELLO', { id: 300, version: { version: 1 }, config: { stateSnapshotIntervalMs: 900, retentionPeriodMs: 7000 } })
  // Offsets at which a field ends.
  const whole1 = encode(0, { id: 300, version: { version: 1 } }).length
  const good = new Set([0, 4, whole1, whole.length])
  for (let length = 0; length <= whole.length; length++) {
    const c = await commandClient(t, d.ws)
    c.socket.send(whole.subarray(0, length))
    if (good.has(length)) assert.equal((await c.count('responses', 1)).result, 'OK', `${length}`)
    else assert.equal((await c.closed).code, 1007, `${length} bytes`)
    c.socket.terminate()
  }
})

test('unknown fields are skipped, text frames with a command are understood', async t => {
  const d = await fedDaemon(t)
  const c = await greeted(t, d)
  c.socket.send(Buffer.concat([encode('PUSH_RESUME', { id: 50 }), Buffer.from('a20603666f6fa80601ad0601020304', 'hex')]))
  assert.equal((await c.answer(50)).result, 'OK')
  c.socket.send(encode('PUSH_RESUME', { id: 51 }), { binary: false })
  assert.equal((await c.answer(51)).result, 'OK')
})

test('a message over 4096 bytes closes with 1009, one of 4096 does not', async t => {
  const d = await fedDaemon(t)
  const c = await greeted(t, d)
  const padded = length => {
    const head = encode('PUSH_RESUME', { id: 60 })
    const left = length - head.length - 4
    return Buffer.concat([head, Buffer.from([0xa2, 0x06, left & 0x7f | 0x80, left >> 7]), Buffer.alloc(left)])
  }
  c.socket.send(padded(4096))
  assert.equal((await c.answer(60)).result, 'OK')
  for (let i = 0; i < 4096; i += 512) c.socket.send(padded(4096).subarray(i, i + 512), { fin: i === 3584 })
  await c.count('responses', 3)
  c.socket.send(padded(4097))
  assert.equal((await c.closed).code, 1009)
})

test('more fields than there is memory for them: 1007', async t => {
  const d = await fedDaemon(t)
  const c = await greeted(t, d)
  c.socket.send(Buffer.alloc(4096, Buffer.from('7801', 'hex')))   // field 15, 2048 times
  assert.equal((await c.closed).code, 1007)
})

test('random bytes are answered or close with 1007', async t => {
  const d = await fedDaemon(t)
  let seed = Number(process.env.SEED ?? Date.now() % 2 ** 32)
  t.diagnostic(`SEED=${seed}`)
  const random = n => {
    seed = Math.imul(seed, 1664525) + 1013904223 >>> 0
    return Math.floor(seed / 2 ** 32 * n)
  }
  let c = await greeted(t, d)
  for (let i = 0; i < 500; i++) {
    const bytes = Buffer.from(encode(random(8), { id: 1, source: random(4), config: { retentionPeriodMs: random(1000) } }))
    for (let n = random(3); n > 0; n--) bytes[random(bytes.length)] = random(256)
    c.socket.send(bytes.subarray(0, random(4) ? bytes.length : random(bytes.length)))
    c.socket.ping()
    const ended = await Promise.race([c.closed, once(c.socket, 'pong').then(() => undefined)])
    if (!ended) continue
    assert.equal(ended.code, 1007)
    c = await greeted(t, d)
  }
})

test('ping, close and shutdown', async t => {
  const d = await fedDaemon(t)
  const c = await greeted(t, d)
  c.socket.ping('how are you')
  assert.equal((await once(c.socket, 'pong'))[0].toString(), 'how are you')
  c.socket.close(4321, 'enough')
  assert.equal((await c.closed).code, 4321)
  const last = await greeted(t, d)
  await last.ok('PUSH_ENABLE', { source: 'STATE' })
  await last.count('states', 1)
  await d.stop()
  assert.equal((await last.closed).code, 1001)
})

test('a client that is silent is pinged and, without an answer, dropped', async t => {
  const d = await fedDaemon(t, { options: ['--ping', '0.2', '-v'], expect: verbose })
  const quiet = await commandClient(t, d.ws, { autoPong: false })
  await d.line(/reason="answers no ping"/)
  assert.equal((await quiet.closed).code, 1006)
})

test('the first event of a type to a client has its properties, later ones the name', async t => {
  const d = await fedDaemon(t)
  const properties = [{ name: 'n', type: 'NUMBER' }, { name: 'padding', type: 'STRING', hasMultiple: true }]
  const first = await greeted(t, d)
  await first.ok('PUSH_ENABLE', { source: 'EVENTS' })
  d.node.event({ properties })
  d.node.event({ properties })
  d.node.event()
  d.node.event({ name: 'Other' })
  await first.count('events', 4)
  const second = await greeted(t, d)
  await second.ok('PUSH_ENABLE', { source: 'EVENTS' })
  d.node.event()
  d.node.event()
  d.node.event({ name: 'Other', properties: properties.slice(1) })
  d.node.event({ name: 'Other' })
  await second.count('events', 4)
  await first.count('events', 8)
  const shape = events => events.map(({ type }) => type.name + type.propertyTypes.length)
  assert.deepEqual(shape(first.events), ['Test2', 'Test0', 'Test0', 'Other0', 'Test0', 'Test0', 'Other1', 'Other0'])
  assert.deepEqual(shape(second.events), ['Test2', 'Test0', 'Other1', 'Other0'])
  assert.deepEqual(first.events[0].type.propertyTypes,
    [{ name: 'n', type: 'NUMBER', hasMultiple: false }, { name: 'padding', type: 'STRING', hasMultiple: true }])
  assert.deepEqual(first.events.map(e => JSON.parse(e.content).n), range(1, 8))
})

test('properties that only the Runtime tells', async t => {
  const d = await fedDaemon(t)
  d.node.send({ runtime: { eventTypes: [{ name: 'Else' }, { name: 'Test', propertyTypes: [{ name: 'n', type: 'NUMBER' }] }] } })
  const c = await greeted(t, d)
  await c.ok('PUSH_ENABLE', { source: 'EVENTS' })
  d.node.event()
  d.node.event()
  await c.count('events', 2)
  assert.deepEqual(c.events.map(e => e.type.propertyTypes.length), [1, 0])
})

test('events that are wrong close the feed', async t => {
  for (const [event, reason] of [
    [{ type: { name: 'T' }, content: '{' }, 'content of the event is not JSON'],
    [{ type: { name: 'T' }, content: '' }, 'content of the event is not JSON'],
    [{ type: { name: 'T' }, content: "{'a':1}" }, 'content of the event is not JSON'],
    [{ content: '{}' }, 'event has no type']]) {
    const line = new RegExp(`^feed_closed offset=\\d+ in_message=0 reason="${reason}"$`)
    const d = await fedDaemon(t, { expect: [line] })
    const c = await greeted(t, d)
    await c.ok('PUSH_ENABLE', { source: 'EVENTS' })
    d.node.event()
    d.node.send({ event })
    await d.line(line)
    await c.count('events', 1)
    await settled(c)
    assert.equal(c.events.length, 1)
  }
})

test('events over a limit are dropped with a log line and a notice', async t => {
  const line = reason => new RegExp(`^event_dropped reason="${reason}"( suppressed=\\d+)?$`)
  const tooMany = line('over 64 event types, or one over 1024 bytes'), tooLong = line('event over 8192 bytes')
  for (const [fields, pattern] of [
    [{ padding: 'x'.repeat(8192) }, tooLong],
    [{ padding: 'x'.repeat(200000) }, tooLong],
    [{ name: 'x'.repeat(64) }, tooMany],
    [{ name: 'P', properties: [{ name: 'x'.repeat(1024) }] }, tooMany]]) {
    const d = await fedDaemon(t, { expect: [pattern] })
    const c = await greeted(t, d)
    await c.ok('PUSH_ENABLE', { source: 'EVENTS' })
    const start = performance.now()
    d.node.event()
    for (let i = 0; i < 30; i++) d.node.event(fields)
    d.node.event()
    await c.count('events', 2)
    assert.deepEqual(kinds(c).slice(2), ['event', 'notice', 'event'])
    assert.equal(c.notices[0].kind, 'DISCARDING_EVENTS')
    assert.deepEqual(numbersOf(c.events), [1, 32])
    await d.line(pattern)
    const lines = d.lines.filter(text => pattern.test(text)).length
    assert.ok(lines <= 10 + (performance.now() - start) / 1000, `${lines} lines`)
  }
  const d = await fedDaemon(t, { expect: [tooMany] })
  const c = await greeted(t, d)
  await c.ok('PUSH_ENABLE', { source: 'EVENTS' })
  for (let i = 1; i <= 65; i++) d.node.event({ name: `type ${i}` })
  await c.count('notices', 1)
  assert.deepEqual(numbersOf(c.events), range(1, 64))
})

test('push clients at different intervals and pull clients share what is taken', async t => {
  const d = await fedDaemon(t)
  const start = performance.now()
  const pulls = await Promise.all([1, 2].map(() => client(t, d.ws)))
  const pushes = await Promise.all([500, 700].map(ms => greeted(t, d, { stateSnapshotIntervalMs: ms })))
  for (const c of pushes) await c.ok('PUSH_ENABLE', { source: 'STATE' })
  let going = true
  const pulling = pulls.map(async (c, i) => {
    while (going) {
      await c.next()
      await delay(7 * i)
    }
  })
  await pushes[1].count('states', 6)
  going = false
  await Promise.all(pulling)
  const took = performance.now() - start
  const bytes = new Map()
  const check = (sequence, message) => {
    if (bytes.has(sequence)) assert.deepEqual(message, bytes.get(sequence))
    else bytes.set(sequence, message)
  }
  for (const c of pulls) {
    assertRising(c.sequences())
    for (const [i, raw] of c.raw.entries()) check(c.sequences()[i], await completed(raw))
  }
  for (const [i, ms] of [500, 700].entries()) {
    const c = pushes[i]
    assertRising(c.sequences())
    for (const message of c.received) if (message.state) check(message.state.sequence, message.message)
    assert.ok(c.states.length <= took / ms + 1, `${c.states.length} states in ${took} ms`)
  }
  assert.ok(pushes[0].states.length >= 6)
  assert.equal(bytes.size <= d.node.asked.length, true)   // each taken once, for whomever
})

test('what a paused client misses comes after PUSH_RESUME, in order, once', async t => {
  const d = await fedDaemon(t)
  const c = await greeted(t, d, { stateSnapshotIntervalMs: INTERVAL_MIN })
  await c.ok('PUSH_ENABLE', { source: 'STATE' })
  await c.ok('PUSH_ENABLE', { source: 'EVENTS' })
  await c.count('states', 1)
  await c.ok('PUSH_PAUSE')
  await c.ok('PUSH_PAUSE')
  const before = c.received.length
  const asked = d.node.asked.length
  d.node.event()
  await d.node.askedFor(asked + 1)
  await settled(c)   // until the state was taken: of what comes at once, events are first
  d.node.event()
  d.node.event()
  await d.node.askedFor(asked + 3)
  await settled(c)
  d.node.event()
  await c.ok('UPDATE_CONFIG', { config: { retentionPeriodMs: 100000 } })
  await settled(c)
  assert.deepEqual(kinds(c).slice(before), ['response'])
  const id = c.send('PUSH_RESUME')
  await c.count('events', 4)
  await c.count('states', 6)
  const after = c.received.slice(before + 1)
  assert.equal(after[0].response.id, id)
  const expected = ['response', 'event', 'state', 'event', 'event', 'state', 'state', 'event']
  assert.deepEqual(after.slice(0, 8).map(m => m.payload), expected)
  assert.deepEqual(numbersOf(c.events), range(1, 4))
  assert.deepEqual(c.states.map(s => s.instantTs), range(1, c.states.length))
  assert.deepEqual(c.notices, [])

  const resumed = await c.ok('PUSH_RESUME')
  await c.ping()
  assert.equal(c.received.filter(m => m.response?.id > resumed.id).length, 0)
  assertRising(c.sequences())
})

test('a push under way ends with PUSH_PAUSE and with PUSH_DISABLE', async t => {
  const d = await fedDaemon(t, { automatic: false })
  const c = await greeted(t, d, { stateSnapshotIntervalMs: INTERVAL_MIN })
  const pull = await client(t, d.ws)
  await c.ok('PUSH_ENABLE', { source: 'STATE' })
  await d.node.askedFor(1)
  await c.ok('PUSH_PAUSE')
  d.node.state()
  await pull.received(1)
  await settled(c)
  assert.equal(c.states.length, 0)
  await c.ok('PUSH_RESUME')
  assert.equal((await c.count('states', 1)).instantTs, 1)
  pull.ready()
  await d.node.askedFor(2)
  await delay(INTERVAL_MIN)   // until a push is due
  await c.ok('PUSH_DISABLE', { source: 'STATE' })
  d.node.state()
  await pull.received(2)
  await settled(c)
  assert.equal(c.states.length, 1)
  assert.deepEqual(c.notices, [])
})

test('PUSH_DISABLE of both drops what was held back, of one only its own', async t => {
  const d = await fedDaemon(t)
  for (const both of [true, false]) {
    const c = await greeted(t, d, { stateSnapshotIntervalMs: INTERVAL_MIN })
    await c.ok('PUSH_ENABLE', { source: 'STATE' })
    await c.ok('PUSH_ENABLE', { source: 'EVENTS' })
    await c.count('states', 1)
    await c.ok('PUSH_PAUSE')
    const asked = d.node.asked.length
    d.node.event()
    const held = d.node.events
    await d.node.askedFor(asked + 2)
    await c.ok('PUSH_DISABLE', { source: 'STATE' })
    if (both) await c.ok('PUSH_DISABLE', { source: 'EVENTS' })
    const response = await c.ok('PUSH_RESUME')
    await settled(c)
    const at = c.received.findIndex(m => m.response?.id === response.id)
    assert.deepEqual(c.received.slice(at + 1).map(m => m.payload), both ? [] : ['event'])
    const last = c.states.at(-1).instantTs
    await c.ok('PUSH_ENABLE', { source: 'EVENTS' })
    await c.ok('PUSH_ENABLE', { source: 'STATE' })
    d.node.event()
    await c.count('events', both ? 1 : 2)
    await c.count('states', 2)
    assert.deepEqual(numbersOf(c.events), both ? [held + 1] : [held, held + 1])
    assert.ok(c.states[1].instantTs >= last + 2)   // the latest, if it is still fresh
    assert.deepEqual(c.notices, [])
    c.socket.terminate()
  }
})

test('a state requested during a pause overtakes those held back, which is said', async t => {
  const d = await fedDaemon(t)
  const c = await greeted(t, d, { stateSnapshotIntervalMs: INTERVAL_MIN })
  await c.ok('PUSH_ENABLE', { source: 'STATE' })
  await c.count('states', 1)
  await c.ok('PUSH_PAUSE')
  await d.node.askedFor(3)
  c.send('REQUEST', { source: 'STATE' })
  const requested = await c.count('states', 2)
  await d.node.askedFor(requested.instantTs + 2)
  await c.ok('PUSH_RESUME')
  await c.count('states', 5)
  assertRising(c.sequences())
  assert.deepEqual(kinds(c).filter(kind => kind !== 'response').slice(0, 5), ['state', 'state', 'notice', 'state', 'state'])
  assert.equal(c.notices.length, 1)
})

test('what is older than the retention period is dropped, which is said once', async t => {
  const d = await fedDaemon(t)
  const c = await greeted(t, d, { stateSnapshotIntervalMs: INTERVAL_MIN, retentionPeriodMs: 4000 })
  await c.ok('PUSH_ENABLE', { source: 'EVENTS' })
  await c.ok('PUSH_ENABLE', { source: 'STATE' })
  await c.count('states', 1)
  await c.ok('PUSH_PAUSE')
  const asked = d.node.asked.length
  d.node.event()
  d.node.event()
  await d.node.askedFor(asked + 10)   // 4500 ms at least since the first of them
  d.node.event()
  const response = await c.ok('PUSH_RESUME')
  await c.count('events', 1)
  const at = c.received.findIndex(m => m.response?.id === response.id)
  const after = c.received.slice(at + 1)
  assert.equal(after[0].payload, 'notice')
  assert.equal(c.notices.length, 1)
  assert.deepEqual(numbersOf(c.events), [3])
  const held = after.slice(0, after.findIndex(m => m.event)).filter(m => m.state)
  assert.ok(held.length <= 9, `${held.length} states of 4000 ms at an interval of 500`)
  assertRising(c.sequences())
  // The limit is one of that pause alone.
  await c.ok('PUSH_PAUSE')
  d.node.event()
  await c.ok('PUSH_RESUME')
  await c.count('events', 2)
  assert.equal(c.notices.length, 1)
})

test('events that the history has no room for are dropped, which is said once', async t => {
  const d = await fedDaemon(t, { options: ['--history', `${HISTORY_MIN}`] })
  const c = await greeted(t, d)
  const live = await greeted(t, d)
  for (const each of [c, live]) await each.ok('PUSH_ENABLE', { source: 'EVENTS' })
  await c.ok('PUSH_PAUSE')
  const padding = 'x'.repeat(8000), n = 60, room = Math.floor(HISTORY_MIN / 8050)
  for (let i = 1; i <= n; i++) {
    d.node.event({ padding })
    await live.count('events', i)   // who is slower than the node loses events, too
  }
  assert.deepEqual(numbersOf(live.events), range(1, n))
  const before = c.received.length
  await c.ok('PUSH_RESUME')
  await c.until(() => c.events.at(-1)?.ts === n)
  assert.deepEqual(kinds(c).slice(before, before + 3), ['response', 'notice', 'event'])
  assert.equal(c.notices.length, 1)
  assert.deepEqual(numbersOf(c.events), range(n - c.events.length + 1, n))
  assert.ok([room - 1, room].includes(c.events.length), `${c.events.length} of ${room}`)
  d.node.event()
  await c.until(() => c.events.at(-1)?.ts === n + 1)
  assert.equal(c.notices.length, 1)
  assert.deepEqual(live.notices, [])
})

test('so are states, and those larger than all of it', async t => {
  const d = await fedDaemon(t, { options: ['--history', `${HISTORY_MIN}`], size: 40000 })
  const c = await greeted(t, d, { stateSnapshotIntervalMs: INTERVAL_MIN })
  await c.ok('PUSH_ENABLE', { source: 'STATE' })
  await c.count('states', 1)
  await c.ok('PUSH_PAUSE')
  await d.node.askedFor(6)
  const pull = await client(t, d.ws)   // what is pulled meanwhile needs no room in the history
  for (let i = 0; i < 10; i++) await pull.next()
  await c.ok('PUSH_RESUME')
  await c.count('states', 4)
  assert.deepEqual(kinds(c).filter(kind => kind !== 'response').slice(0, 4), ['state', 'notice', 'state', 'state'])
  assert.deepEqual(c.states.slice(1, 3).map(s => s.instantTs), [4, 5].map(n => n + c.states[1].instantTs - 4))
  assert.ok(c.states[1].instantTs >= 3)
  assertRising(c.sequences())
  assert.equal(c.notices.length, 1)

  d.node.size = HISTORY_MIN
  await c.ok('PUSH_PAUSE')
  const asked = d.node.asked.length
  const { length } = c.received
  await d.node.askedFor(asked + 3)
  d.node.size = 0
  await c.ok('PUSH_RESUME')
  await c.count('notices', 2)
  const n = c.states.length
  await c.count('states', n + 2)
  assert.deepEqual(c.received.slice(length, length + 2).map(m => m.payload), ['response', 'notice'])
  assert.equal(c.notices.length, 2)
  assertRising(c.sequences())
})

test('nobody is told of losses that are not his', async t => {
  const d = await fedDaemon(t, { options: ['--history', `${HISTORY_MIN}`], size: 40000 })
  const events = await greeted(t, d)
  await events.ok('PUSH_ENABLE', { source: 'EVENTS' })
  const paused = await greeted(t, d, { stateSnapshotIntervalMs: INTERVAL_MIN })
  await paused.ok('PUSH_ENABLE', { source: 'STATE' })
  await paused.count('states', 1)
  await paused.ok('PUSH_PAUSE')
  await d.node.askedFor(6)
  d.node.event()
  await events.count('events', 1)
  await settled(events)
  assert.deepEqual(events.notices, [])
  await paused.ok('PUSH_RESUME')
  await paused.count('notices', 1)
})

// Fills what the sockets between here and the client hold, and then the history.
async function flood (d, fast, n) {
  const padding = 'x'.repeat(8000)
  for (let i = 0; i < n; i++) {
    d.node.event({ padding })
    if (i % 100 === 99) await fast.until(() => fast.events.at(-1)?.ts === d.node.events)
  }
}

test('a push client that stops reading is dropped at its deadline, the others get everything', async t => {
  const d = await fedDaemon(t, { options: ['--drain', '6', '-v'], expect: verbose })
  const slow = await greeted(t, d, { stateSnapshotIntervalMs: INTERVAL_MIN })
  const fast = await greeted(t, d, { stateSnapshotIntervalMs: INTERVAL_MIN })
  const pull = await client(t, d.ws)
  for (const c of [slow, fast]) {
    await c.ok('PUSH_ENABLE', { source: 'EVENTS' })
    await c.ok('PUSH_ENABLE', { source: 'STATE' })
  }
  slow.socket.pause()
  await flood(d, fast, 2000)
  await d.line(/^closed .* reason="takes nothing of what is sent to it"/)
  await fast.count('states', 2)
  await pull.next()
  assert.deepEqual(numbersOf(fast.events), range(1, 2000))
  assert.deepEqual(fast.notices, [])
  assertRising(fast.sequences())
  slow.socket.resume()
  assert.equal((await slow.closed).code, 1006)
})

test('a push client that reads again in time is told once of each loss', async t => {
  const d = await fedDaemon(t, { options: ['--drain', '60', '--history', `${1 << 20}`] })
  const slow = await greeted(t, d)
  const fast = await greeted(t, d)
  for (const c of [slow, fast]) await c.ok('PUSH_ENABLE', { source: 'EVENTS' })
  slow.socket.pause()
  await flood(d, fast, 2000)
  slow.socket.resume()
  await slow.until(() => slow.events.at(-1)?.ts === 2000)
  let gaps = 0, next = 1, told = false
  for (const { event, notice } of slow.received) {
    if (event) {
      assert.ok(told ? event.ts > next : event.ts === next, `${event.ts} instead of ${next}`)
      next = event.ts + 1
    }
    assert.ok(!(told && notice), 'told twice')
    told = notice != null
    gaps += told
  }
  assert.ok(gaps > 0)
  assert.deepEqual(fast.notices, [])
})

test('a client that is still reading what the history has no room for is dropped', async t => {
  const size = 15e6   // more than sockets hold
  const d = await fedDaemon(t, { size, options: ['--drain', '60', '--history', `${3 * size}`, '-v'], expect: verbose })
  const [slow, other] = [await greeted(t, d), await greeted(t, d)]
  for (const c of [slow, other]) {
    await c.ok('PUSH_ENABLE', { source: 'STATE' })
    await c.count('states', 1)
    await c.ok('PUSH_PAUSE')
  }
  const asked = d.node.asked.length
  await d.node.askedFor(asked + 2)
  slow.socket.pause()
  slow.send('PUSH_RESUME')
  await d.line(/^closed .* reason="too slow for the history"/)
  slow.socket.resume()
  assert.equal((await slow.closed).code, 1006)
  await other.ok('PUSH_RESUME')
  await other.count('states', 3)
  assertRising(other.sequences())
})

test('events from standard input', async t => {
  const d = await daemon(t, ['--feed', '-'], { stdin: 'pipe' })
  const c = await greeted(t, d, { stateSnapshotIntervalMs: INTERVAL_MIN })
  await c.ok('PUSH_ENABLE', { source: 'EVENTS' })
  await c.ok('PUSH_ENABLE', { source: 'STATE' })
  d.child.stdin.write(Buffer.concat([delimited(eventOf(1)), delimited(eventOf(2)), delimited({ state: { instantTs: 5 } })]))
  await c.count('states', 1)
  assert.deepEqual(kinds(c).slice(3), ['event', 'event', 'state'])
})

const ticks = pid => {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').replace(/^.*\) /, '').split(' ')
  return Number(fields[11]) + Number(fields[12])   // user and system time, in 10 ms
}

test('waiting takes no time of the processor', async t => {
  const d = await fedDaemon(t, { automatic: false })
  const states = {
    'after HELLO': async () => {},
    'STATE requested of a node that says nothing': async c => c.send('REQUEST', { source: 'STATE' }),
    'STATE pushed of a node that says nothing': async c => c.ok('PUSH_ENABLE', { source: 'STATE' }),
    'the same, paused': async c => {
      await c.ok('PUSH_ENABLE', { source: 'STATE' })
      await c.ok('PUSH_PAUSE')
    },
    'EVENTS alone, paused': async c => {
      await c.ok('PUSH_ENABLE', { source: 'EVENTS' })
      await c.ok('PUSH_PAUSE')
    },
    'both disabled': async c => {
      await c.ok('PUSH_ENABLE', { source: 'STATE' })
      await c.ok('PUSH_DISABLE', { source: 'STATE' })
    },
    'half of a command': async c => c.socket.send(encode('HELLO').subarray(0, 1), { fin: false })
  }
  for (const [name, enter] of Object.entries(states)) {
    for (const hadOne of [false, true]) {   // a snapshot that is old by now
      const c = await greeted(t, d, { stateSnapshotIntervalMs: INTERVAL_MIN })
      if (hadOne) {
        const pull = await client(t, d.ws)
        d.node.state()
        await pull.received(1)
        pull.socket.terminate()
      }
      await enter(c)
      await settled(c)
      const before = ticks(d.pid)
      await delay(600)   // longer than a push interval
      const used = ticks(d.pid) - before
      assert.ok(used <= 10, `${used * 10} ms of 600 ms: ${name}`)
      c.socket.terminate()
      await c.closed
    }
  }
})

test('memory stays as it is under mixed load', async t => {
  const d = await fedDaemon(t, { options: ['--history', `${HISTORY_MIN}`], size: 5000, env: FRUGAL })
  const end = performance.now() + 28000
  const going = () => d.node.asked.length < 3600 && performance.now() < end   // an hour at one a second
  const pulls = await Promise.all([0, 5, 40].map(async ms => {
    const c = await client(t, d.ws)
    return async () => {
      while (going()) {
        await c.next()
        c.snapshots.length = c.raw.length = 0
        await delay(ms)
      }
    }
  }))
  const pushes = await Promise.all([0, 300, 2500].map(async pause => {
    const c = await greeted(t, d, { stateSnapshotIntervalMs: INTERVAL_MIN })
    await c.ok('PUSH_ENABLE', { source: 'EVENTS' })
    await c.ok('PUSH_ENABLE', { source: 'STATE' })
    let last = 0
    c.onMessage = ({ payload, state }) => {
      if (state) {
        assert.ok(state.sequence > last)
        last = state.sequence
      }
      if (payload !== 'response') c.received.length = c.states.length = c.events.length = 0
    }
    return async () => {
      while (going()) {
        if (pause > 0) await c.ok('PUSH_PAUSE')
        await delay(pause || 500)
        await c.ok('PUSH_RESUME')
        c.send('REQUEST', { source: 'RUNTIME' })
        await delay(200)
      }
    }
  }))
  const comings = async () => {
    while (going()) {
      const c = await greeted(t, d)
      c.send('REQUEST', { source: 'STATE' })
      await c.count('states', 1)
      c.socket.terminate()
      await delay(50)
    }
  }
  const events = async () => {
    while (going()) {
      for (let i = 0; i < 20; i++) d.node.event({ padding: 'x'.repeat(2000) })
      await delay(100)
    }
  }
  const sizes = []
  const watch = async () => {
    while (going()) {
      sizes.push(memory(d))
      await delay(500)
    }
  }
  await Promise.all([...pulls, ...pushes, comings, events, watch].map(run => run()))
  t.diagnostic(`${d.node.asked.length} snapshots, ${d.node.events} events, memory ${sizes[0]} to ${sizes.at(-1)} KiB`)
  const half = sizes.length >> 1
  const early = Math.max(...sizes.slice(0, half)), late = Math.max(...sizes.slice(half))
  assert.ok(late - early < 512, `grew from ${early} to ${late} KiB: ${sizes}`)
})
