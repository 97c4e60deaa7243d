// The pull protocol: who gets which snapshot, and when.
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { hostname } from 'node:os'
import { setTimeout as delay } from 'node:timers/promises'
import { client, daemon, ServerMessage, test, undisturbed } from './daemon.mjs'
import { encodeState, feedDaemon, node } from './feed-node.mjs'
import { BINARY, CLOSE, frame, handshake, connect, open, ping, PONG, text } from './raw.mjs'

const HOUR = ['--interval', '3600000']
const SHORT = ['--interval', '10']
const BIG = 8 << 20   // bytes: more than the sockets of one connection hold
const STALE = 900     // ms: a node that says nothing new for little more is no longer waited for

// Everything that the daemon had to send before it read this is there.
async function settled (c) {
  const pong = once(c.socket, 'pong')
  c.socket.ping()
  await pong
}

const sequence = data => Number(ServerMessage.decode(data).state.sequence)

test('one snapshot on connecting, and no more for 3 s', async t => {
  const d = await daemon(t, SHORT)
  const c = await client(t, d.ws)
  const { version, state } = await c.received(1)
  assert.equal(version.version, 1)
  assert.equal(state.runtime.source, 'kernel')
  assert.equal(state.runtime.hostname, hostname())
  assert.equal(state.runtime.intervalMs, 10)
  assert.ok(Math.abs(Date.now() - Number(state.instantTs)) < 60000)
  await delay(3000)
  assert.equal(c.snapshots.length, 1)
  await c.next()
  const [first, second] = c.sequences()
  assert.equal(second, first + 1, 'snapshots were taken though nobody was ready')
})

test('nobody ready, nothing asked of the source', async t => {
  const d = await feedDaemon(t, SHORT)
  const n = await node(t, d)
  assert.equal(n.requests, 0)
  const c = await client(t, d.ws)
  await c.received(1)
  await delay(300)
  assert.equal(n.requests, 1)
  await c.next()
  assert.equal(n.requests, 2)
})

test('any message is a ready', async t => {
  const d = await daemon(t, SHORT)
  const c = await client(t, d.ws)
  await c.received(1)
  const messages = ['r', '', 'ready when you are', Buffer.alloc(0), Buffer.from([0, 255]),
    'x'.repeat(4096), Buffer.alloc(4096)]
  for (const message of messages) await c.next()
  for (const [i, message] of messages.entries()) {
    c.ready(message)
    await c.received(messages.length + 2 + i)
    await settled(c)
    assert.equal(c.snapshots.length, messages.length + 2 + i)
  }
})

test('a message in fragments is one ready, when it is whole', async t => {
  const d = await daemon(t, SHORT)
  const c = await open(t, { port: d.port })
  await c.frame(0)
  c.send(frame(BINARY, 'a'), frame(0, ''), ping('1'))
  await c.frame(1)
  assert.equal(c.frames[1].opcode, PONG)
  c.send(frame(0x80, ''))
  await c.frame(2)
  assert.equal(c.frames[2].opcode, BINARY)
  c.send(ping('2'))
  await c.frame(3)
  assert.equal(c.frames[3].opcode, PONG)
})

test('a snapshot is one unfragmented binary frame, unmasked', async t => {
  const d = await feedDaemon(t, SHORT)
  const sizes = [1, 500, 70000]
  await node(t, d, i => encodeState(sizes[i - 1]))
  const c = await open(t, { port: d.port })
  for (const [i, header] of [2, 4, 10].entries()) {
    const got = await c.frame(i)
    assert.equal(got.first, 0x80 | BINARY)
    assert.equal(got.masked, false)
    assert.equal(got.header, header)
    assert.equal(sequence(got.data), i + 1)
    c.send(text('r'))
  }
})

test('what a new client gets is no older than the interval', async t => {
  await undisturbed(async () => {
    const d = await feedDaemon(t, ['--interval', '50'])
    const n = await node(t, d)
    const first = await client(t, d.ws)
    await first.received(1)
    await delay(100)
    const start = performance.now()
    const second = await client(t, d.ws)
    await second.received(1)
    if (performance.now() - start > STALE) return   // it gets what there is
    assert.deepEqual([first.sequences(), second.sequences()], [[1], [2]])
    assert.equal(n.requests, 2)
    return true
  })
})

test('within the interval all new clients get the same', async t => {
  const d = await daemon(t, HOUR)
  const clients = []
  for (let i = 0; i < 3; i++) {
    clients.push(await client(t, d.ws))
    await clients[i].received(1)
  }
  for (const c of clients) assert.deepEqual(c.raw, clients[0].raw)
})

test('snapshots are not closer together than the interval', async t => {
  const d = await daemon(t, ['--interval', '100'])
  const c = await client(t, d.ws)
  await c.received(1)
  const times = [performance.now()]
  for (let i = 0; i < 5; i++) {
    await c.next()
    times.push(performance.now())
  }
  // From the second on each waited for the one before; a turn may be late, none is early.
  assert.ok(times[5] - times[0] >= 4 * 100, times)
})

test('several readies before the next snapshot count as one', async t => {
  const d = await feedDaemon(t, SHORT)
  const n = await node(t, d, i => i === 1 ? encodeState() : '')
  const many = await client(t, d.ws)
  await many.received(1)
  for (let i = 0; i < 5; i++) many.ready()
  await settled(many)
  await n.requested(2)
  n.socket.write(encodeState())
  await many.received(2)
  await settled(many)
  await delay(100)
  assert.equal(n.requests, 2)
  assert.deepEqual(many.sequences(), [1, 2])
})

test('a ready that comes while a snapshot is being written counts for the one after', async t => {
  const d = await feedDaemon(t, SHORT)
  await node(t, d, () => encodeState(BIG))
  const c = await connect(t, { port: d.port })
  c.socket.pause()
  c.send(handshake())
  const other = await client(t, d.ws)
  await other.received(1)
  // What it has of the snapshot it does not read, so that the rest stays behind.
  c.send(text('r'), text('r'), text('r'))
  for (let i = 0; i < 3; i++) await other.next()
  c.socket.resume()
  await c.frame(1)
  c.send(ping('end'))
  const last = await c.frame(2)
  assert.equal(last.opcode, PONG, 'more than one came for readies during a write')
  const [first, second] = c.frames.map(f => f.opcode === BINARY && sequence(f.data))
  assert.equal(first, 1)
  assert.ok(second >= 4)
})

test('a ready that comes with the handshake is for the snapshot after the first', async t => {
  const d = await feedDaemon(t, SHORT)
  await node(t, d)
  const c = await connect(t, { port: d.port })
  c.send(handshake(), text('r'))
  await c.frame(1)
  c.send(ping('end'))
  const last = await c.frame(2)
  assert.equal(last.opcode, PONG, 'the one ready brought more than one snapshot')
  assert.deepEqual(c.frames.slice(0, 2).map(f => sequence(f.data)), [1, 2])
})

test('readies before there is any snapshot count as one, for the snapshot after the first', async t => {
  const d = await feedDaemon(t, SHORT)
  const c = await open(t, { port: d.port })
  c.send(text('r'), text('r'), ping('1'))
  assert.equal((await c.frame(0)).opcode, PONG)
  const n = await node(t, d)
  await c.frame(2)
  await delay(100)
  c.send(ping('2'))
  await c.until(() => c.frames.filter(f => f.opcode === PONG).length === 2)
  const snapshots = c.frames.filter(f => f.opcode === BINARY)
  assert.deepEqual(snapshots.map(f => sequence(f.data)), [1, 2])
  assert.equal(n.requests, 2)
})

test('a client slower than the interval gets no older a snapshot for it', async t => {
  await undisturbed(async () => {
    const d = await feedDaemon(t, ['--interval', '50'])
    const n = await node(t, d)
    const slow = await client(t, d.ws)
    await slow.received(1)
    const other = await client(t, d.ws)
    await other.received(1)
    while (other.sequences().at(-1) < 3) await other.next()
    assert.equal(n.requests, 3)
    await delay(100)
    // The third lies there, newer than what this client has; but it is too old by now.
    const start = performance.now()
    await slow.next()
    if (performance.now() - start > STALE) return
    assert.equal(n.requests, 4)
    assert.deepEqual(slow.sequences(), [1, 4])
    return true
  })
})

test('within the interval a client that was slow gets what lies there', async t => {
  const interval = 3000
  await undisturbed(async () => {
    const d = await feedDaemon(t, ['--interval', `${interval}`])
    const start = performance.now()
    const n = await node(t, d)
    const slow = await client(t, d.ws)
    const other = await client(t, d.ws)
    await slow.received(1)
    await other.received(1)
    await other.next()
    await slow.next()
    if (performance.now() - start > 2 * interval) return
    assert.deepEqual(slow.sequences(), [1, 2])
    assert.equal(n.requests, 2)
    return true
  })
})

test('what was taken while a client was not ready is skipped', async t => {
  const d = await daemon(t, SHORT)
  const slow = await client(t, d.ws)
  const fast = await client(t, d.ws)
  await slow.received(1)
  await fast.received(1)
  for (let i = 0; i < 5; i++) await fast.next()
  await slow.next()
  const [, newest] = slow.sequences()
  assert.ok(newest >= fast.sequences().at(-1))
  await settled(slow)
  assert.equal(slow.snapshots.length, 2)
})

test('a gap in the sequence is what a client missed', async t => {
  const d = await feedDaemon(t, SHORT)
  const n = await node(t, d)
  const slow = await client(t, d.ws)
  const fast = await client(t, d.ws)
  await slow.received(1)
  await fast.received(1)
  const [before] = slow.sequences()
  while (fast.sequences().at(-1) < before + 4) await fast.next()
  await slow.next()
  // The number of a snapshot is how often the node was asked.
  assert.ok(slow.sequences()[1] >= before + 4)
  assert.equal(slow.sequences()[1], n.requests)
})

test('never the same twice, and in order', async t => {
  const d = await daemon(t, SHORT)
  const clients = await Promise.all(Array.from({ length: 5 }, () => client(t, d.ws)))
  await Promise.all(clients.map(async (c, i) => {
    await c.received(1)
    for (let k = 0; k < 20; k++) {
      if (k % 5 === i) await delay(15)
      await c.next()
    }
    c.sequences().reduce((before, now) => {
      assert.ok(now > before, c.sequences())
      return now
    })
  }))
})

test('clients that are due the same snapshot get the same bytes', async t => {
  const d = await daemon(t, ['--interval', '50'])
  const clients = await Promise.all(Array.from({ length: 5 }, () => client(t, d.ws)))
  await Promise.all(clients.map(c => c.received(1)))
  const seen = new Map()
  for (let i = 0; i < 5; i++) {
    await Promise.all(clients.map(c => c.next()))
    for (const c of clients) {
      const data = c.raw.at(-1), number = sequence(data)
      assert.deepEqual(data, seen.get(number) ?? data)
      seen.set(number, data)
    }
  }
  assert.ok(seen.size < 25)
})

test('a source that has nothing yet', async t => {
  const d = await feedDaemon(t, SHORT)
  const c = await client(t, d.ws)
  await settled(c)
  assert.equal(c.snapshots.length, 0)
  await node(t, d)
  await c.received(1)
  await settled(c)
  assert.deepEqual(c.sequences(), [1])
})

test('a source that says nothing new: what there is comes after a second', async t => {
  const d = await feedDaemon(t, SHORT)
  const n = await node(t, d, i => i === 1 ? encodeState() : '')
  const first = await client(t, d.ws)
  await first.received(1)
  await delay(20)
  const start = performance.now()
  const second = await client(t, d.ws)
  await second.received(1)
  assert.ok(performance.now() - start > 900)
  assert.deepEqual(second.raw, first.raw)
  await n.requested(2)
})

test('... and to a client that was ready late, too', async t => {
  const d = await feedDaemon(t, SHORT)
  await node(t, d, i => i < 3 ? encodeState() : '')
  const slow = await client(t, d.ws)
  await slow.received(1)
  const other = await client(t, d.ws)
  await other.received(1)
  while (other.sequences().at(-1) < 2) await other.next()
  await delay(20)
  const start = performance.now()
  await slow.next()
  assert.ok(performance.now() - start > 900)
  assert.deepEqual(slow.sequences(), [1, 2])
})

test('bytes right behind the handshake are read', async t => {
  const d = await daemon(t, SHORT)
  const c = await connect(t, { port: d.port })
  c.send(handshake(), ping('early'), frame(0x80 | CLOSE, Buffer.from([3, 232])))
  await c.end()
  const opcodes = c.frames.map(f => f.opcode)
  assert.deepEqual(opcodes.filter(opcode => opcode !== BINARY), [PONG, CLOSE])
})
