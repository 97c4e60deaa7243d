// A swarm of two nodes of each implementation, all connected to each other, with a daemon for each:
// what the two ends of a connection tell of it must agree.
import assert from 'node:assert/strict'
import { join } from 'node:path'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { client, daemon, folder, schema } from '../../test/integration/daemon.mjs'
import { visitor } from '../js-libp2p/test/watch.mjs'
import { collect, isTrue } from './fields.mjs'
import { built, publishers, run } from './publishers.mjs'

const { values: { CLOSED } } = schema.lookupEnum('introspection.Status')
const { values: { INITIATOR, RESPONDER } } = schema.lookupEnum('introspection.Role')
const PATIENCE = 120_000 // ms
const SENT = 1024 * 1024
const NEGOTIATION = 100 // bytes of multistream-select, which some publishers count with the stream
const MESH_LOW = 4 // the least that a publisher's gossipsub leaves a mesh at (D_lo)
const ECHO = '/echo/1.0.0'
const KERNEL = 'kernel'

/** By publisher, the fields that its nodes told. */
const told = new Map([...publishers.map(({ name }) => name), KERNEL].map(name => [name, new Set()]))

/** A node with a daemon of its own. */
async function watched (t, publisher, options = { swarm: true }) {
  const feed = join(folder(t), 'feed.sock')
  const d = await daemon(t, ['--feed', feed, '--interval', '20'], { expect: [/^feed_(connected|disconnected)$/] })
  const [node, c] = [await run(t, publisher, feed, options), await client(t, d.ws)]
  return { ...node, state: () => teller(c, publisher.name) }
}

async function teller (c, name) {
  const { state } = await c.next()
  collect(told.get(name), state)
  return state
}

/** Asks until what is told agrees: `assertions` gets a new State of each node. */
async function agreed (nodes, assertions) {
  for (const end = Date.now() + PATIENCE; ; await sleep(50)) {
    const states = new Map(await Promise.all(nodes.map(async node => [node, await node.state()])))
    try {
      return assertions(node => states.get(node))
    } catch (error) {
      if (Date.now() > end) throw error
    }
  }
}

const connections = (state, to) => state.subsystems.connections.filter(c => c.peerId === to.peerId && c.status !== CLOSED)
const name = ({ name, peerId }) => `${name} ${peerId.slice(-4)}`
const mesh = ({ topics }) => topics.find(({ name }) => name === 'weather').meshPeerIds
const withoutPeer = address => address.replace(/\/p2p\/\w+$/, '')
const moved = ({ traffic: { trafficIn, trafficOut } }) => ({ in: Number(trafficIn.cumBytes), out: Number(trafficOut.cumBytes) })

/** The one connection of the pair as each end tells it. */
function ends (state, [a, b]) {
  return [[a, b], [b, a]].map(([own, other]) => {
    const found = connections(state(own), other)
    assert.equal(found.length, 1, `connections of ${name(own)} to ${name(other)}`)
    return found[0]
  })
}

function sameConnection ([dialed, accepted], transport) {
  assert.deepEqual([dialed.role, accepted.role], [INITIATOR, RESPONDER])
  for (const c of [dialed, accepted]) assert.equal(c.transportId.toString(), transport)
  assert.deepEqual(dialed.attribs, accepted.attribs)
  // no library for JavaScript tells the own end of QUIC
  for (const [own, other] of [[dialed, accepted], [accepted, dialed]]) {
    if (own.endpoints.srcMultiaddr) assert.equal(withoutPeer(own.endpoints.srcMultiaddr), withoutPeer(other.endpoints.dstMultiaddr))
  }
}

/** Streams that stay: those of gossipsub and the echo; others come and go while one asks. */
function sameStreams ([dialed, accepted]) {
  const list = ({ streams: { streams } }, turned) => streams
    .filter(({ protocol }) => /^\/(echo|meshsub)\//.test(protocol))
    .map(({ protocol, role }) => `${protocol} ${(role === INITIATOR) !== turned}`).sort()
  assert.deepEqual(list(dialed, false), list(accepted, true))
  assert.ok(list(dialed, false).filter(s => s.startsWith('/meshsub/')).length > 1)
}

/** A peer is in the mesh of both ends or of neither; a mesh at its low water mark need not take the rest. */
function sameTopic (state, pair) {
  const [a, b] = [pair, pair.toReversed()].map(([own, other]) => mesh(state(own)).includes(other.peerId))
  assert.equal(a, b, `${pair.map(name).join(' and ')} are in each other's mesh`)
}

/** The DHT's buckets count the bits that both keys share. */
function sameBucket (state, pair) {
  const [a, b] = [pair, pair.toReversed()].map(([own, other]) => state(own).subsystems.dht.buckets
    .find(({ peers }) => peers.some(({ peerId }) => peerId === other.peerId))?.cpl)
  assert.ok(a != null && b != null, `${name(pair[0])} ${a}, ${name(pair[1])} ${b}`)
  assert.equal(a, b)
}

const OVERHEAD = 0.1 // headers, acknowledgements, gossip
const TRANSPORTS = [
  { transport: 'ip4+tcp', part: '/tcp/' },
  { transport: 'ip4+udp+quic-v1', part: '/quic-v1' }
]

for (const { transport, part } of TRANSPORTS) {
  test(`a mixed swarm agrees on connections, streams, mesh, DHT and bytes over ${transport}`, { timeout: 3 * PATIENCE }, async t => {
    const able = publishers.filter(p => !p.alone && (!p.skip || t.diagnostic(`without ${p.name}: ${p.skip}`)))
    able.forEach(built) // before anybody waits for an answer
    const all = []
    for (const publisher of [...able, ...able]) all.push(await watched(t, publisher))
    const address = node => node.addresses.find(a => a.includes(part))
    const nodes = all.filter(node => address(node) || t.diagnostic(`without ${name(node)}: it does not listen over ${transport}`))
    const pairs = nodes.flatMap((a, i) => nodes.slice(i + 1).map(b => [a, b]))
    assert.ok(pairs.length > 0)

    const watcher = await client(t, (await daemon(t, ['--pid', `${nodes.at(-1).child.pid}`, '--interval', '20'], { expect: [/^watching /] })).ws)

    for (const [a, b] of pairs) await a.tell(`dial ${address(b)}`)
    await agreed(nodes, state => {
      for (const node of nodes) {
        assert.deepEqual(state(node).subsystems.connections.filter(c => c.status !== CLOSED).map(c => c.peerId).sort(),
          nodes.filter(other => other !== node).map(({ peerId }) => peerId).sort())
        assert.deepEqual(state(node).topics.map(({ name, subscribers }) => [name, subscribers]), [['weather', nodes.length - 1]])
        assert.ok(mesh(state(node)).length >= Math.min(MESH_LOW, nodes.length - 1), `mesh of ${name(node)}`)
        for (const c of state(node).subsystems.connections) assert.notEqual(c.agentVersion, '', `agent of ${c.peerId} at ${name(node)}`)
      }
      for (const pair of pairs) {
        const both = ends(state, pair)
        sameConnection(both, transport)
        sameStreams(both)
        sameTopic(state, pair)
        sameBucket(state, pair)
      }
    })

    const before = await agreed(nodes, state => pairs.map(pair => ends(state, pair).map(moved)))
    for (const [a, b] of pairs) await a.tell(`echo ${b.peerId} ${SENT}`)
    await agreed(nodes, state => pairs.forEach((pair, i) => {
      const both = ends(state, pair)
      sameStreams(both)
      both.forEach((end, side) => {
        const [was, is] = [before[i][side], moved(end)]
        // who counts packets counts those that were lost, too; on a busy machine many are taken for that
        const most = Number(end.traffic.trafficIn.cumPackets) > 0 ? Infinity : (1 + OVERHEAD) * SENT
        for (const bytes of [is.in - was.in, is.out - was.out]) {
          assert.ok(bytes >= SENT && bytes < most, `${name(pair[side])} to ${name(pair[1 - side])}: ${bytes} bytes`)
        }
      })
    }))
    await agreed(nodes, state => nodes.forEach(node => {
      const echo = state(node).protocols.find(({ protocol }) => protocol === ECHO)
      assert.equal(echo.streams, nodes.length - 1)
      for (const bytes of Object.values(moved(echo))) {
        const surplus = bytes - SENT * (nodes.length - 1)
        assert.ok(surplus >= 0 && surplus < NEGOTIATION * (nodes.length - 1), `${name(node)} has ${surplus} bytes too many`)
      }
    }))

    await teller(watcher, KERNEL)
    const [gone, ...others] = nodes
    await gone.kill()
    do await teller(watcher, KERNEL)
    while (!told.get(KERNEL).has('connections.timeline.close_ts'))
    await agreed(others, state => others.forEach(node => assert.deepEqual(connections(state(node), gone), [])))
  })
}

// What only a relay, a ping or chance (Go's rates, of what moves for seconds) brings about is in the
// publishers' own tests.
const ELSEWHERE = ['connections.limited', 'connections.conn_id', 'connections.latency_ns', 'connections.lost_packets',
  'connections.close_reason', 'dht.buckets.cpl', 'dht.buckets.peers.status', 'streams.status',
  'snapshot_duration_ms', 'traffic.inst_bw', 'protocols.traffic.inst_bw']

test('the README tells what the kernel tells', { skip: process.getuid() !== 0 && 'needs root' }, () => {
  isTrue(KERNEL, told.get(KERNEL), [...ELSEWHERE, 'connections.retransmitted_bytes', 'connections.user_provided_tags'])
})

for (const publisher of publishers) {
  test(`the README tells what ${publisher.name} tells`, { skip: publisher.skip, timeout: PATIENCE }, async t => {
    if (publisher.alone) {
      const node = await watched(t, publisher, { peers: 1 })
      const guest = await visitor(t, node.addresses)
      const isGuest = ({ peerId }) => peerId === guest.peerId
      while (!(await node.state()).subsystems?.connections.find(isGuest)?.streams.streams?.some(({ protocol }) => protocol !== '')) await sleep(50)
      await guest.stop()
      while (!told.get(publisher.name).has('connections.timeline.close_ts')) await node.state()
    }
    isTrue(`${publisher.name}-libp2p`, told.get(publisher.name), ELSEWHERE)
  })
}
