// A difference and its base make the whole snapshot again.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { ServerMessage } from '../integration/daemon.mjs'
import { encode, fullState, load, random } from './page.mjs'

const { baseOf, merging } = await load('merge.js')
const { codec, decode, DecodeError } = await load('decode.js')
const { Store } = await load('store.js')

const places = codec(undefined, 'Subsystems.connections')

function merge (base, change) {
  const spans = places.decode('ServerMessage', base).state.subsystems.connections
  const ids = decode('ServerMessage', base).state.subsystems.connections.map(c => c.id)
  const work = merging(base, spans, ids, change)
  for (;;) {
    const { done, value } = work.next()
    if (done) return value
  }
}

const LISTS = { ADDRESSES: 'addresses', PROTOCOLS: 'protocols', TOPICS: 'topics', RESOURCES: 'resources' }
const copy = x => JSON.parse(JSON.stringify(x), (k, v) => v?.type === 'Buffer' ? Buffer.from(v.data) : v)
const bytesOf = connection => encode({ state: { subsystems: { connections: [connection] } } }).join()

// What the contract says a difference from a to b is.
function difference (a, b) {
  const [was, is] = [a.state, b.state], old = new Map(was.subsystems.connections.map(c => [c.id.toString('latin1'), bytesOf(c)]))
  const here = new Set(is.subsystems.connections.map(c => c.id.toString('latin1')))
  const state = copy(is)
  state.base = was.sequence
  state.subsystems.connections = state.subsystems.connections.filter(c => old.get(c.id.toString('latin1')) !== bytesOf(c))
  state.goneIds = was.subsystems.connections.map(c => c.id).filter(id => !here.has(id.toString('latin1')))
  state.same = Object.entries(LISTS).filter(([, name]) => JSON.stringify(was[name]) === JSON.stringify(is[name])).map(([part, name]) => { state[name] = []; return part })
  if (JSON.stringify(was.subsystems.dht) === JSON.stringify(is.subsystems.dht)) {
    state.same.push('DHT')
    delete state.subsystems.dht
  }
  return { version: { version: 1 }, state }
}

// The order of connections does not matter.
function sorted (bytes) {
  const m = ServerMessage.toObject(ServerMessage.decode(bytes), { longs: Number, bytes: String })
  m.state.subsystems?.connections?.sort((a, b) => a.id < b.id ? -1 : 1)
  return m
}

test('random changes of everything, over many snapshots, also through a store', () => {
  const below = random(7), store = new Store()
  let whole = fullState(1, 8), held = encode(whole)
  store.add(held, 1)
  for (let n = 2; n < 120; n++) {
    const next = copy(whole), { connections } = next.state.subsystems
    next.state.sequence = n
    next.state.instantTs += 1000
    if (below(3) === 0 && connections.length) connections.splice(below(connections.length), 1)
    if (below(3) === 0) connections.splice(below(connections.length + 1), 0, { ...fullState(n, 1).state.subsystems.connections[0], id: Buffer.from([n, 255, 0]) })
    for (const c of connections) if (below(4) === 0) c.traffic.trafficIn.cumBytes += below(1000)
    for (const name of Object.values(LISTS)) if (below(4) === 0) next.state[name] = below(3) ? [...next.state[name], next.state[name][0] ?? {}].slice(-3) : []
    if (below(5) === 0) next.state.subsystems.dht.incomingQueries.success += 1
    if (below(7) === 0) next.state.runtime.version += '.'
    const change = encode(difference(whole, next))
    assert.equal(baseOf(change), n - 1)
    held = merge(held, change)
    assert.deepEqual(sorted(held), sorted(encode(next)), `snapshot ${n}`)
    const kept = store.add(change, n)
    assert.deepEqual(sorted(kept.bytes), sorted(held))
    assert.equal(store.have, n)
    whole = next
  }
})

test('what is whole has no base', () => assert.equal(baseOf(encode(fullState(5))), 0))

test('a difference to what is not held changes nothing', () => {
  const store = new Store(), a = fullState(1, 2), b = fullState(2, 3)
  assert.throws(() => store.add(encode(difference(a, b)), 1), DecodeError)
  store.add(encode(a), 1)
  const wrong = difference(a, b)
  wrong.state.goneIds.push(Buffer.from('nobody'))
  assert.throws(() => store.add(encode(wrong), 2), DecodeError)
  assert.equal(store.snapshots.length, 1)
  assert.ok(store.add(encode(difference(a, b)), 2))
})

test('random damage to a difference is an error in words or another whole snapshot', () => {
  const below = random(3), base = encode(fullState(1, 3)), change = encode(difference(fullState(1, 3), fullState(2, 4)))
  for (let i = 0; i < 2000; i++) {
    const damaged = Uint8Array.from(change)
    for (let k = 0; k <= below(3); k++) damaged[below(damaged.length)] = below(256)
    try {
      merge(base, damaged)
      baseOf(damaged)
    } catch (e) {
      assert.ok(e instanceof DecodeError, e.stack)
    }
  }
})

test('the ready that asks for a difference is one', async () => {
  const { encode: write } = await load('decode.js')
  const Ready = ServerMessage.root.lookupType('introspection.Ready')
  assert.equal(Number(Ready.decode(write('Ready', { have: 300 })).have), 300)
})
