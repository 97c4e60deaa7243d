// Ready with wishes: differences and totals, asked for by real clients of the real daemon.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { client, schema } from './daemon.mjs'
import { encodeState, feedDaemon, node } from './feed-node.mjs'

const Ready = schema.lookupType('introspection.Ready')
const State = schema.lookupType('introspection.State')
const SHORT = ['--interval', '10']
const ready = fields => Buffer.from(Ready.encode(Ready.fromObject(fields)).finish())

// A node with many connections, of which one changes each time and, every third time, one goes.
function changing () {
  const state = n => ({
    resources: [{ name: 'memory', used: 5 }],
    addresses: [{ multiaddr: `/ip4/1.2.3.4/tcp/${n % 4}` }],
    subsystems: {
      dht: { protocol: '/kad', buckets: [{ cpl: 1, peers: [{ peerId: 'x' }, { peerId: 'y' }] }] },
      connections: Array.from({ length: 40 }, (_, i) => ({
        id: Buffer.from(`c${i < n % 3 ? i + 1000 * n : i}`),
        peerId: `peer${i % 7}`,
        role: i % 2,
        status: i === 5 ? 1 : 0,
        latencyNs: i === n % 40 ? n : 7,
        streams: { streams: [{ id: Buffer.from('s'), protocol: '/x' }] }
      }))
    }
  })
  return n => encodeState(0, state(n))
}

async function start (t) {
  const d = await feedDaemon(t, SHORT)
  await node(t, d, changing())
  return d
}

const plain = state => State.toObject(state, { longs: String, bytes: String, defaults: true })
const wholeOf = state => {
  const s = plain(state)
  s.subsystems.connections.sort((a, b) => a.id < b.id ? -1 : 1)
  return s
}

// What a client has after a difference.
function merge (base, difference) {
  const s = plain(difference)
  const gone = new Set([...s.goneIds, ...s.subsystems.connections.map(c => c.id)])
  s.subsystems.connections.push(...base.subsystems.connections.filter(c => !gone.has(c.id)))
  s.subsystems.connections.sort((a, b) => a.id < b.id ? -1 : 1)
  const { Part } = State.nested
  for (const part of s.same) {
    const name = Part.valuesById[part].toLowerCase()
    if (name === 'dht') s.subsystems.dht = base.subsystems.dht
    else s[name] = base[name]
  }
  return Object.assign(s, { base: '0', goneIds: [], same: [] })
}

test('what differences make is what another client gets whole', async t => {
  const d = await start(t)
  const [a, b] = [await client(t, d.ws), await client(t, d.ws)]
  const wholes = new Map()
  let have = wholeOf((await a.received(1)).state)
  let differences = 0
  for (let i = 0; i < 60; i++) {
    const n = a.snapshots.length
    b.ready()
    a.ready(ready({ have: have.sequence }))
    const { state } = await a.received(n + 1)
    if (Number(state.base)) {
      differences++
      assert.equal(String(state.base), have.sequence)
      assert.ok(a.raw[n].length < a.raw[0].length / 2, `${a.raw[n].length} of ${a.raw[0].length}`)
      have = merge(have, state)
    } else {
      have = wholeOf(state)
    }
    while (b.snapshots.length && Number(b.snapshots.at(-1).state.sequence) < Number(have.sequence)) await b.next()
    for (const { state } of b.snapshots.splice(0)) wholes.set(String(state.sequence), wholeOf(state))
    const whole = wholes.get(have.sequence)
    if (whole) assert.deepEqual(have, whole)
  }
  assert.ok(differences > 40, `${differences}`)
  assert.ok(wholes.size > 30)
})

test('clients that are due the same difference get the same bytes', async t => {
  const d = await start(t)
  const clients = await Promise.all([1, 2, 3].map(() => client(t, d.ws)))
  const seen = new Map()
  for (let i = 0; i < 20; i++) {
    for (const c of clients) {
      const { sequence } = (await c.received(i + 1)).state
      c.ready(ready({ have: sequence }))
    }
  }
  for (const c of clients) {
    c.snapshots.slice(0, 20).forEach(({ state }, i) => {
      const key = `${state.sequence} ${state.base}`
      if (seen.has(key)) assert.deepEqual(c.raw[i], seen.get(key))
      seen.set(key, c.raw[i])
    })
  }
})

test('totals: counts and all the rest, no connections', async t => {
  const d = await start(t)
  const c = await client(t, d.ws)
  await c.received(1)
  c.ready(ready({ detail: 'TOTALS' }))
  const { state } = await c.received(2)
  assert.deepEqual(plain(state).counts, { connections: 39, streams: 39, dhtPeers: 2, inbound: 19, peers: 7 })
  assert.equal(state.subsystems.connections.length, 0)
  assert.equal(state.subsystems.dht.protocol, '/kad')
  assert.equal(state.subsystems.dht.buckets.length, 0)
  assert.equal(state.resources.length, 1)
  // Who has totals alone can make nothing of a difference.
  c.ready(ready({ have: state.sequence }))
  const next = (await c.received(3)).state
  assert.equal(Number(next.base), 0)
  assert.equal(next.subsystems.connections.length, 40)
})

test('whatever else a message is, it asks for the whole', async t => {
  const d = await start(t)
  const c = await client(t, d.ws)
  const have = async () => Number((await c.received(c.snapshots.length)).state.sequence)
  await c.received(1)
  const rows = [
    async () => 'r',
    async () => '',
    async () => Buffer.alloc(0),
    async () => Buffer.from('ff', 'hex'),
    async () => ready({ have: await have() + 1 }),
    async () => ready({ have: await have() - 1 }),
    async () => ready({ have: 1e15 }),
    async () => ready({ have: await have() }).toString('latin1'),       // a text
    async () => Buffer.concat([ready({ have: await have() }), Buffer.from('0b', 'hex')])   // a group
  ]
  for (const row of rows) {
    const n = c.snapshots.length
    c.ready(await row())
    assert.equal(Number((await c.received(n + 1)).state.base), 0, `${row}`)
  }
  // Fields that are not known yet do no harm.
  const n = c.snapshots.length
  c.ready(ready({ have: await have() }))
  const { sequence } = (await c.received(n + 1)).state
  c.ready(Buffer.concat([ready({ have: sequence }), Buffer.from('5a03616263', 'hex')]))
  assert.equal(Number((await c.received(n + 2)).state.base), Number(sequence))
})

test('a ready in fragments', async t => {
  const d = await start(t)
  const c = await client(t, d.ws)
  let { sequence } = (await c.received(1)).state
  for (let i = 0; i < 3; i++) {
    for (const byte of ready({ have: sequence }).subarray(0, -1)) c.socket.send(Buffer.from([byte]), { fin: false })
    c.socket.send(ready({ have: sequence }).subarray(-1), { fin: true })
    const { state } = await c.received(i + 2)
    if (i > 0) assert.equal(Number(state.base), Number(sequence))
    sequence = state.sequence
  }
})

test('the wishes of a ready that comes with the handshake are for the second snapshot', async t => {
  const d = await start(t)
  const c = await client(t, d.ws)
  c.ready(ready({ detail: 'TOTALS' }))
  const [first, second] = [await c.received(1), await c.received(2)]
  assert.equal(first.state.subsystems.connections.length, 40)
  assert.equal(second.state.counts.connections, 39)
})
