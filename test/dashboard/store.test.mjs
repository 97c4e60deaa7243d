import assert from 'node:assert/strict'
import { test } from 'node:test'
import { ServerMessage } from '../integration/daemon.mjs'
import { encode, fullState, load } from './page.mjs'

const { CAP, Store } = await load('store.js')
const { Moment } = await load('model.js')
const { DecodeError } = await load('decode.js')

const event = (ts, content = '{}') => encode({ event: { type: { name: 'E', propertyTypes: ts === 1 ? [{ name: 'x', type: 'TIME' }] : [] }, ts, content } })

test('a snapshot keeps its bytes and what the charts need', () => {
  const store = new Store()
  const bytes = encode(fullState(5, 6))
  const s = store.add(bytes, 1000)
  assert.equal(s.bytes, bytes)
  assert.deepEqual([s.at, s.ts, s.sequence, s.rateIn, s.rateOut, s.connections, s.streams, s.dht, s.runtime.hostname],
    [1000, 1700000005000, 5, 100, 200, 5, 5, 2, 'lighthouse'])
  assert.equal(store.state(s).subsystems.connections.length, 6)
  assert.equal(store.state(s), store.state(s))
})

test('over the cap the past thins, the older the more; the newest stay', () => {
  const size = encode(fullState(1)).length
  const store = new Store(size * 100)
  for (let i = 1; i <= 2000; i++) {
    store.add(encode(fullState(i)), i * 1000)
    assert.ok(store.bytes <= size * 101)
  }
  const at = store.snapshots.map(s => s.at / 1000)
  assert.deepEqual(at.slice(-40), Array.from({ length: 40 }, (_, i) => 1961 + i), 'the newest, all of them')
  assert.equal(store.bytes, store.snapshots.reduce((n, s) => n + s.bytes.length, 0))
  const steps = at.slice(1).map((x, i) => x - at[i])
  assert.deepEqual(steps, [...steps].sort((a, b) => b - a), 'never closer together than what is newer')
  assert.ok(at[0] < 500, `the past begins at ${at[0]}`)
  const tiny = new Store(10)
  tiny.add(encode(fullState(1)), 1)
  tiny.add(encode(fullState(2)), 2)
  assert.deepEqual(tiny.snapshots.map(s => s.sequence), [2])
})

test('what is looked at stays, however much comes', () => {
  const store = new Store(encode(fullState(1)).length * 10)
  const first = store.add(encode(fullState(1)), 1000)
  store.pinned = [first]
  for (let i = 2; i <= 100; i++) store.add(encode(fullState(i)), i * 1000)
  assert.equal(store.snapshots[0], first)
  assert.ok(store.snapshots.length < 12)
})

// A state of connections whose bytes so far are given by id.
const connections = (ts, bytes) => encode({ state: { instantTs: ts, sequence: ts, subsystems: { connections: Object.entries(bytes).map(([id, n]) => ({
  id: Buffer.from(id), peerId: `peer ${id[0]}`, traffic: { trafficIn: { cumBytes: n } }, timeline: { openTs: 1 }
})) } } })

test('what moved in a span: of what stayed, came and went, also where the past was thinned', () => {
  const states = [{ a: 100, b: 50 }, { a: 110, b: 60, c: 5 }, { a: 120, c: 9 }, { a: 130 }, { a: 140, a2: 7 }]
  for (const cap of [Infinity, connections(1, states[0]).length * 3]) {
    const store = new Store(cap)
    states.forEach((s, i) => {
      const item = store.add(connections(1000 * (i + 1), s), 1000 * (i + 1))
      store.pinned = [store.snapshots[0]]
      assert.ok(item)
    })
    const m = new Moment(store, store.snapshots.length - 1, [1000, 5000])
    assert.deepEqual(Object.fromEntries(m.peers('range').map(p => [p.key, p.movedIn])), { 'peer a': 47, 'peer b': 10, 'peer c': 9 })
    assert.deepEqual(m.churn('range'), { opened: 2, closed: 2 })
    assert.deepEqual(Object.fromEntries(m.peers('total').map(p => [p.key, p.movedIn])), { 'peer a': 147, 'peer b': 60, 'peer c': 9 })
    assert.deepEqual(m.peers('range').map(p => p.gone), [false, true, true])
  }
})

test('a connection that was long open when it was told first did not move all of its bytes in the range', () => {
  const store = new Store()
  const told = [{ a: 100 }, { a: 110, late: 900 }, { a: 120, late: 905 }]
  told.forEach((s, i) => store.add(connections(100_000 + 1000 * i, s), 100_000 + 1000 * i))
  const m = new Moment(store, 2, [100_000, 102_000])
  const moved = by => Object.fromEntries(m.peers(by).map(p => [p.key, p.movedIn]))
  assert.deepEqual(moved('range'), { 'peer a': 20, 'peer l': 5 })
  assert.deepEqual(moved('total'), { 'peer a': 120, 'peer l': 905 })
})

test('a connection that did not change is the same object in the next snapshot', () => {
  const store = new Store()
  const bytes = { a: 1, b: 2, c: 3, d: 4 }
  const of = s => store.state(s).subsystems.connections
  const first = of(store.add(connections(1, bytes), 1))
  const { b, ...rest } = bytes
  const second = of(store.add(connections(2, { ...rest, c: 9 }), 2))
  assert.deepEqual(second.map(c => c.id), ['a', 'c', 'd'])
  assert.deepEqual([second[0] === first[0], second[1] === first[2], second[2] === first[3]], [true, false, true])
  assert.equal(second[1].traffic.traffic_in.cum_bytes, 9)
})

test('the default cap holds half an hour of 70 connections', () => {
  assert.ok(encode(fullState(1, 70)).length * 1800 < CAP * 1.6, 'with streams')
  assert.equal(CAP, 32 * 2 ** 20)
})

test('events take a quarter of the room at most', () => {
  const size = encode(fullState(1)).length
  const store = new Store(size * 8)
  for (let i = 1; i <= 5; i++) store.add(encode(fullState(i)), i)
  for (let i = 1; i < 1000; i++) store.add(event(i, `"${'x'.repeat(100)}"`), 10 + i)
  assert.ok(store.bytes <= size * 8)
  assert.equal(store.snapshots.length, 5)
  assert.equal(store.events.at(-1).ts, 999)
  assert.equal(store.eventType('E').property_types.length, 1)
})

test('what is not a message changes nothing', () => {
  const store = new Store()
  store.add(encode(fullState(1)), 1)
  assert.throws(() => store.add(Uint8Array.of(0x12, 0x05, 1), 2), DecodeError)
  assert.equal(store.add(encode({ response: { id: 1 } }), 3), undefined)
  assert.deepEqual([store.snapshots.length, store.events.length], [1, 0])
})

test('time never runs back, whatever the clock of the node says', () => {
  const store = new Store()
  for (const [i, at] of [5, 9, 3, 4, 10].entries()) store.add(encode(fullState(i)), at)
  assert.deepEqual(store.snapshots.map(s => s.at), [5, 9, 9, 9, 10])
  assert.deepEqual([0, 5, 8, 9, 99].map(at => store.indexAt(at)), [0, 0, 0, 3, 4])
})

test('a runtime message counts for the states that carry none', () => {
  const store = new Store()
  store.add(encode({ runtime: { implementation: 'go-libp2p' } }))
  assert.equal(store.add(encode({ state: { instantTs: 1 } })).runtime.implementation, 'go-libp2p')
  assert.equal(store.add(encode(fullState(1))).runtime.implementation, 'js-libp2p')
})

test('the messages of a store make the same store again', () => {
  const store = new Store()
  for (let i = 1; i <= 3; i++) {
    store.add(encode(fullState(i)), i)
    store.add(event(i), i)
  }
  const [runtime, ...rest] = store.messages()
  assert.equal(ServerMessage.decode(runtime).runtime.hostname, 'lighthouse')
  assert.deepEqual(rest.map(m => ServerMessage.decode(m).payload), ['state', 'event', 'state', 'event', 'state', 'event'])
  const again = new Store()
  for (const m of store.messages()) again.add(m)
  assert.deepEqual(again.messages(), store.messages())
  assert.deepEqual(again.snapshots.map(s => s.bytes), store.snapshots.map(s => s.bytes))
})

test('a moment: peers, protocols, and connections that went away fade', () => {
  const store = new Store()
  store.add(encode(fullState(1, 6)), 1000)
  store.add(encode(fullState(2, 3)), 2000)
  const m = new Moment(store, 1)
  assert.equal(m.rows.length, 3)
  assert.deepEqual(m.fading.map(r => r.gone), [false, false, true, true, true, true])
  assert.ok(m.fading.filter(r => r.gone).every(r => r.rateIn === 0 && r.rateOut === 0), 'what is closed has no rate')
  assert.deepEqual(m.open.map(r => r.status), ['ACTIVE', 'OPENING'])
  assert.deepEqual(m.peers().map(p => p.rows), [1, 1])
  assert.deepEqual(m.protocols().map(p => [p.key, p.streams]), [['/ipfs/ping/1.0.0', 2]])
  assert.equal(m.rows[0].transport, 'tcp')
  store.add(encode(fullState(3, 3)), 60_000)
  assert.equal(new Moment(store, 2).fading.length, 3, 'half a minute later they are gone')
})

test('without peer IDs, services go by host and port, callers by host', () => {
  const connection = (role, address) => ({ id: Buffer.from(address), role, endpoints: { srcMultiaddr: '/ip4/10.0.0.1/tcp/22', dstMultiaddr: address }, userProvidedTags: role ? ['process=sshd[1]', 'pid=9'] : ['process=ssh[8]'] })
  const store = new Store()
  store.add(encode({ state: { subsystems: { connections: [connection(0, '/ip4/1.2.3.4/tcp/443'), connection(1, '/ip4/5.6.7.8/tcp/50000'), connection(1, '/ip6/::1/tcp/50001')] } } }), 1)
  const { rows } = new Moment(store, 0)
  assert.deepEqual(rows.map(r => r.peer), ['1.2.3.4:443', '5.6.7.8', '[::1]'])
  assert.deepEqual(rows.map(r => r.process), ['ssh[8]', 'sshd[1] (pid 9)', 'sshd[1] (pid 9)'])
})

test('ends given as initiator and responder are told apart by our peer ID', () => {
  const store = new Store()
  store.add(encode({ state: { runtime: { peerId: 'me' }, subsystems: { connections: [{ endpoints: { srcMultiaddr: 'you', dstMultiaddr: 'me' } }] } } }), 1)
  assert.deepEqual([new Moment(store, 0).rows[0].local, new Moment(store, 0).rows[0].remote], ['me', 'you'])
})

test('the newest snapshot, come again to a new socket, is not kept twice', () => {
  const store = new Store()
  assert.ok(store.add(encode(fullState(5)), 1))
  assert.equal(store.add(encode(fullState(5)), 2), undefined)
  assert.ok(store.add(encode(fullState(6)), 3))
  assert.deepEqual(store.snapshots.map(s => s.at), [1, 3])
})

test('of a part that was remembered, what it does not name is neither closed nor opened', () => {
  const store = new Store()
  const part = (ts, bytes, connections) => {
    const { state } = ServerMessage.toObject(ServerMessage.decode(connectionsAt(ts, bytes)))
    return encode({ state: { ...state, counts: { connections, peers: 2, streams: 7, dhtPeers: 3 } } })
  }
  const connectionsAt = (ts, bytes) => connections(ts, bytes)
  store.add(part(1000, { a: 100 }, 3), 1000)
  const second = store.add(part(2000, { b: 50 }, 4), 2000)
  assert.deepEqual([second.partial, second.connections, second.peers, second.streams, second.dht], [true, 4, 2, 7, 3])
  assert.equal(store.have, 0, 'no difference can be to it')
  const live = store.add(connections(3000, { a: 130, b: 60, c: 999 }), 3000)
  assert.deepEqual([live.opened, live.closed, live.connections], [0, 0, 3])
  const m = new Moment(store, 2, [1000, 3000])
  assert.deepEqual(Object.fromEntries(m.peers('range').map(p => [p.key, p.movedIn])), { 'peer a': 30, 'peer b': 0, 'peer c': 0 })
  store.add(connections(4000, { a: 130 }), 4000)
  assert.equal(store.snapshots.at(-1).closed, 2)
})
