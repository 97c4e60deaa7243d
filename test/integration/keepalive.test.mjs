// Clients that say nothing, take nothing, or are no longer there.
import assert from 'node:assert/strict'
import test from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { client, daemon, until } from './daemon.mjs'
import { encodeState, feedDaemon, node } from './feed-node.mjs'
import { BINARY, connect, handshake, open, PING, pong, text } from './raw.mjs'

const BIG = 8 << 20   // bytes: more than the sockets of one connection hold
const HOUR = ['--interval', '3600000']
const SHORT = ['--interval', '10']
const connections = [/^open peer=/, /^clos(ed|ing) peer=/]

const pingsOf = c => c.frames.filter(f => f.opcode === PING).length

test('a client that answers nothing is given up after two pings', async t => {
  const d = await daemon(t, [...HOUR, '-v', '--ping', '0.2'], { expect: connections })
  const start = performance.now()
  const c = await open(t, { port: d.port })
  await c.end()
  const ms = performance.now() - start
  assert.ok(ms > 550, `gave up after ${ms} ms`)
  assert.equal(pingsOf(c), 2)
  assert.equal(c.frames.length, 3)
  await d.line(/^closed peer=\S+ reason="answers no ping" snapshots=1$/)
})

test('pings come after silence only, and whatever answers will do', async t => {
  const d = await daemon(t, [...HOUR, '--ping', '3'])
  const halfAFrame = n => n % 2 ? [0x81] : [0x80, 0, 0, 0, 0]
  await Promise.all([() => pong(''), () => text('r'), halfAFrame].map(async answer => {
    const c = await open(t, { port: d.port })
    for (let n = 1; n <= 4; n++) {
      await c.until(() => pingsOf(c) === n)
      c.send(answer(n))
    }
    assert.equal(c.ended, false)
  }))
})

test('a client that asks all the time is not asked', async t => {
  const d = await daemon(t, [...SHORT, '--ping', '5'])
  const c = await client(t, d.ws)
  let pings = 0
  c.socket.on('ping', () => pings++)
  await c.received(1)
  for (const start = performance.now(); performance.now() - start < 7000;) await c.next()
  assert.equal(pings, 0)
})

test('the ws package answers for a client that does nothing', async t => {
  const d = await daemon(t, [...HOUR, '--ping', '3'])
  const c = await client(t, d.ws)
  let pings = 0
  c.socket.on('ping', () => pings++)
  await c.received(1)
  await until(c.socket, 'ping', () => pings >= 4)
  assert.equal(c.socket.readyState, c.socket.OPEN)
})

test('who stops reading is dropped, and delays nobody', async t => {
  const d = await feedDaemon(t, [...SHORT, '-v', '--drain', '6'], { expect: connections })
  await node(t, d, () => encodeState(BIG))
  const stuck = await connect(t, { port: d.port })
  stuck.socket.pause()
  stuck.send(handshake())
  const other = await client(t, d.ws)
  await other.received(1)
  const dropped = d.line(/^closed peer=\S+ reason="takes nothing of what is sent to it" snapshots=0$/)
  let over = false
  dropped.finally(() => { over = true })
  while (!over) await other.next()
  await dropped
  await other.next()
  const sequences = other.sequences()
  assert.ok(sequences.length > 2)
  assert.deepEqual(sequences, sequences.map((_, i) => sequences[0] + i))
})

test('who reads slowly but reads stays', async t => {
  const d = await feedDaemon(t, [...HOUR, '--drain', '5', '--ping', '3600'])
  await node(t, d, () => encodeState(15e6))
  const c = await connect(t, { port: d.port })
  c.send(handshake())
  const start = performance.now(), slow = () => performance.now() - start < 7000
  c.socket.on('data', () => {
    if (!slow()) return
    c.socket.pause()
    setTimeout(() => c.socket.resume(), 50)
  })
  assert.equal((await c.frame(0)).opcode, BINARY)
  assert.ok(!slow())
})

test('when slow clients hold all buffers, those with the oldest go', async t => {
  const d = await feedDaemon(t, [...SHORT, '-v', '--drain', '3600'], { expect: connections })
  await node(t, d, () => encodeState(BIG))
  const fast = await client(t, d.ws)
  await fast.received(1)
  // Each stops within a snapshot of its own: six may, beside the newest and the next.
  const stop = async () => {
    const c = await connect(t, { port: d.port })
    c.socket.pause()
    c.send(handshake())
    await d.line(new RegExp(`^open peer=127\\.0\\.0\\.1:${c.socket.localPort}$`))
    for (let i = 0; i < 3; i++) await fast.next()
    return c
  }
  const first = await stop()
  const others = []
  for (let i = 0; i < 5; i++) others.push(await stop())
  assert.equal(d.lines.some(line => /too slow/.test(line)), false)
  await delay(2500)   // by then none of them has taken anything for as long as their pace is looked at
  others.push(await stop())
  const peer = `127\\.0\\.0\\.1:${first.socket.localPort}`
  await d.line(new RegExp(`^closed peer=${peer} reason="too slow for the buffers there are"`))
  for (const other of others) {
    other.socket.resume()
    assert.equal((await other.frame(0)).opcode, BINARY)
  }
})
