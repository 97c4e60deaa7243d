import assert from 'node:assert/strict'
import { once } from 'node:events'
import { connect, createServer } from 'node:net'
import { test } from 'node:test'
import { circuitRelayServer, circuitRelayTransport } from '@libp2p/circuit-relay-v2'
import { identify } from '@libp2p/identify'
import { ping } from '@libp2p/ping'
import { tcp } from '@libp2p/tcp'
import { webSockets } from '@libp2p/websockets'
import { multiaddr } from '@multiformats/multiaddr'
import { ECHO } from '../example/node.mjs'
import { StateMaker } from '../src/state.js'
import { start, watch } from './watch.mjs'

const options = { timeout: 300_000 }
const MEBIBYTE = 1024 * 1024

/** Sends bytes to the peer's ECHO and waits until they are back; the stream stays open. */
async function echo (node, peerId, bytes) {
  const stream = await node.dialProtocol(peerId, ECHO)
  const received = Promise.withResolvers()
  let missing = bytes

  stream.addEventListener('message', ({ data }) => {
    missing -= data.byteLength
    if (missing === 0) {
      received.resolve()
    }
  })

  for (let left = bytes; left > 0; left -= 1024) {
    if (!stream.send(new Uint8Array(Math.min(left, 1024)))) {
      await stream.onDrain()
    }
  }

  await received.promise
  return stream
}

/** Forwards to a TCP port and counts what really goes over the wire. */
async function countingProxy (t, port) {
  const bytes = { up: 0, down: 0 }
  const server = createServer(client => {
    const upstream = connect(port, '127.0.0.1')
    client.on('data', data => { bytes.up += data.length }).on('error', () => {}).pipe(upstream)
    upstream.on('data', data => { bytes.down += data.length }).on('error', () => {}).pipe(client)
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.after(() => server.close())
  return { bytes, port: server.address().port }
}

const tcpPort = (node) => node.getMultiaddrs()[0].getComponents().find(({ name }) => name === 'tcp').value

test('a connection is told with all the node knows about it', options, async (t) => {
  const [node, peer] = await Promise.all([start(t), start(t, { nodeInfo: { userAgent: 'peer/1.2.3' } })])
  const daemon = await watch(t, node)
  const began = Date.now()

  const connection = await node.dial(peer.getMultiaddrs())
  const stream = await echo(node, peer.peerId, 10_000)

  const state = await daemon.askUntil(({ subsystems: { connections: [{ agentVersion, latencyNs }] } }) =>
    agentVersion !== '' && connection.rtt != null && latencyNs === connection.rtt * 1e6)
  const [seen, ...others] = state.subsystems.connections
  const now = Date.now()

  assert.deepEqual(others, [])
  assert.equal(seen.peerId, peer.peerId.toString())
  assert.equal(seen.agentVersion, 'peer/1.2.3')
  assert.equal(seen.status, 'ACTIVE')
  assert.equal(seen.role, 'INITIATOR')
  assert.equal(seen.limited, false)
  assert.equal(seen.transportId.toString(), 'ip4+tcp')
  assert.equal(seen.endpoints.dstMultiaddr, peer.getMultiaddrs()[0].toString())
  assert.equal(seen.endpoints.srcMultiaddr, peer.getConnections()[0].remoteAddr.decapsulate('/p2p').toString())
  assert.deepEqual(seen.attribs, { encryption: '/noise', multiplexer: '/yamux/1.0.0' })
  assert.ok(seen.timeline.openTs >= began && seen.timeline.upgradedTs >= seen.timeline.openTs && seen.timeline.upgradedTs <= now)
  assert.equal(seen.timeline.closeTs, 0)

  const echoed = seen.streams.streams.find(({ protocol }) => protocol === ECHO)
  assert.equal(echoed.role, 'INITIATOR')
  assert.equal(echoed.status, 'ACTIVE')
  assert.equal(echoed.timeline.openTs, stream.timeline.open)

  assert.ok(state.instantTs >= began && state.instantTs <= now)

  const { subsystems: { connections: [again] } } = await daemon.ask()
  assert.deepEqual(again.id, seen.id)
  assert.deepEqual(again.streams.streams.find(({ protocol }) => protocol === ECHO).id, echoed.id)
})

test('a host that was dialed by its name is told by its address', options, async (t) => {
  const [node, peer] = await Promise.all([start(t), start(t)])
  const daemon = await watch(t, node)

  await node.dial(multiaddr(`/dns4/localhost/tcp/${tcpPort(peer)}`))

  const { subsystems: { connections: [{ endpoints, transportId }] } } = await daemon.ask()
  assert.equal(endpoints.dstMultiaddr, `/ip4/127.0.0.1/tcp/${tcpPort(peer)}`)
  assert.equal(transportId.toString(), 'ip4+tcp')
})

test('what a state covers begins where the one before ended', options, async (t) => {
  const node = await start(t)
  const began = Date.now()
  const daemon = await watch(t, node)

  const first = await daemon.ask()
  const second = await daemon.ask()
  assert.ok(first.startTs >= began && first.startTs <= first.instantTs)
  assert.equal(second.startTs, first.instantTs)
})

test('the other end of a connection is its responder', options, async (t) => {
  const [node, peer] = await Promise.all([start(t), start(t)])
  const daemon = await watch(t, node)

  await peer.dial(node.getMultiaddrs())
  await echo(peer, node.peerId, 1)

  const { subsystems: { connections: [seen] } } = await daemon.ask()
  assert.equal(seen.role, 'RESPONDER')
  assert.equal(seen.streams.streams.find(({ protocol }) => protocol === ECHO).role, 'RESPONDER')
  assert.equal(seen.endpoints.srcMultiaddr, node.getMultiaddrs()[0].decapsulate('/p2p').toString())
})

test('bytes are those that went over the wire', options, async (t) => {
  const [node, peer] = await Promise.all([
    // quiet, so that nothing moves between the last byte and the state
    start(t, { connectionMonitor: { enabled: false }, services: { identify: identify(), ping: ping() } }),
    start(t, { connectionMonitor: { enabled: false }, services: { identify: identify(), ping: ping() } })
  ])
  const proxy = await countingProxy(t, tcpPort(peer))
  const daemons = await Promise.all([watch(t, node), watch(t, peer)])

  const identified = Promise.all([once(node, 'peer:identify'), once(peer, 'peer:identify')])
  await node.dial(multiaddr(`/ip4/127.0.0.1/tcp/${proxy.port}/p2p/${peer.peerId}`))
  await identified
  await node.services.ping.ping(peer.peerId)
  await echo(node, peer.peerId, MEBIBYTE)

  const wire = ({ bytes }, up, down) => (state) =>
    state.traffic?.trafficOut.cumBytes === bytes[up] && state.traffic.trafficIn.cumBytes === bytes[down]

  const [dialed, answered] = await Promise.all([
    daemons[0].askUntil(wire(proxy, 'up', 'down')),
    daemons[1].askUntil(wire(proxy, 'down', 'up'))
  ])

  for (const state of [dialed, answered]) {
    const [connection] = state.subsystems.connections
    const [stream] = connection.streams.streams
    const protocol = (name) => state.protocols.find(({ protocol }) => protocol === name)

    assert.equal(stream.protocol, ECHO)
    assert.equal(stream.traffic.trafficIn.cumBytes, MEBIBYTE)
    assert.equal(stream.traffic.trafficOut.cumBytes, MEBIBYTE)
    assert.equal(protocol(ECHO).traffic.trafficOut.cumBytes, MEBIBYTE)
    assert.equal(protocol(ECHO).streams, 1)
    assert.equal(protocol('/ipfs/ping/1.0.0').traffic.trafficIn.cumBytes, 32)
    assert.equal(protocol('/ipfs/ping/1.0.0').streams, 0)
    assert.deepEqual(
      [connection.traffic.trafficIn.cumBytes, connection.traffic.trafficOut.cumBytes],
      [state.traffic.trafficIn.cumBytes, state.traffic.trafficOut.cumBytes]
    )
  }

  const idle = await daemons[0].ask()
  assert.equal(idle.traffic.trafficOut.instBw, 0)

  await echo(node, peer.peerId, MEBIBYTE)
  const busy = await daemons[0].ask()
  const perSecond = MEBIBYTE / (busy.instantTs - busy.startTs) * 1000
  const rate = busy.protocols.find(({ protocol }) => protocol === ECHO).traffic.trafficOut.instBw
  assert.ok(Math.abs(rate - perSecond) < perSecond * 0.1, `${rate} bytes/s, expected about ${perSecond}`)
})

test('without introspectionMetrics all but the bytes is there', options, async (t) => {
  const [node, peer] = await Promise.all([start(t, { metrics: undefined }), start(t)])
  const daemon = await watch(t, node)

  await node.dial(peer.getMultiaddrs())
  await echo(node, peer.peerId, 1)

  const state = await daemon.ask()
  const [connection] = state.subsystems.connections
  assert.equal(state.traffic, null)
  assert.equal(connection.peerId, peer.peerId.toString())
  assert.deepEqual([connection.traffic.trafficIn.cumBytes, connection.traffic.trafficOut.cumBytes], [0, 0])
  assert.equal(state.protocols.find(({ protocol }) => protocol === ECHO).streams, 1)
})

// What the publisher itself says: the daemon would put in what is missing.
test('every connection and stream has traffic, whatever is known of it', options, async (t) => {
  const check = state => {
    const streams = state.subsystems.connections.flatMap(({ streams }) => streams.streams)
    for (const { traffic, timeline } of [...state.subsystems.connections, ...streams]) {
      assert.ok(traffic.traffic_in && traffic.traffic_out && timeline)
    }
    return streams
  }

  for (const settings of [{}, { metrics: undefined }]) {
    const [node, peer] = await Promise.all([start(t, settings), start(t)])
    const states = new StateMaker(node)
    await node.dial(peer.getMultiaddrs())
    // until one was seen before its protocol was agreed upon
    for (let negotiating = false; !negotiating;) {
      const echoed = echo(node, peer.peerId, 1)
      for (let turn = 0; turn < 20; turn++) {
        negotiating ||= check(states.make()).some(({ protocol }) => protocol === '')
        await new Promise(setImmediate)
      }
      await echoed
    }
  }
})

test('peers of before are known by the name they gave then', options, async (t) => {
  const [node, peer] = await Promise.all([start(t), start(t, { nodeInfo: { userAgent: 'peer/1.2.3' } })])
  const identified = once(node, 'peer:identify')
  await node.dial(peer.getMultiaddrs())
  await identified

  const daemon = await watch(t, node)
  const { subsystems: { connections: [seen] } } = await daemon.askUntil(({ subsystems: { connections: [connection] } }) =>
    connection.agentVersion !== '')
  assert.equal(seen.agentVersion, 'peer/1.2.3')
})

test('a name that is not UTF-8 is made so', options, async (t) => {
  const [node, peer] = await Promise.all([start(t), start(t, { nodeInfo: { userAgent: 'evil\ud800' } })])
  const daemon = await watch(t, node)
  const identified = once(node, 'peer:identify')
  await node.dial(peer.getMultiaddrs())
  const [{ detail }] = await identified
  assert.equal(detail.agentVersion.isWellFormed(), false)

  const { subsystems: { connections: [seen] } } = await daemon.ask()
  assert.equal(seen.agentVersion, 'evil\ufffd')
})

test('a closed connection is shown once', options, async (t) => {
  const [node, peer] = await Promise.all([start(t), start(t)])
  const daemon = await watch(t, node)
  const connection = await node.dial(peer.getMultiaddrs())
  const [id] = (await daemon.ask()).subsystems.connections.map(({ id }) => id.toString())
  assert.equal(id, connection.id)

  await connection.close()
  const [closed, ...others] = (await daemon.ask()).subsystems.connections
  assert.deepEqual(others, [])
  assert.equal(closed.id.toString(), id)
  assert.equal(closed.status, 'CLOSED')
  assert.equal(closed.timeline.closeTs, connection.timeline.close)
  assert.ok(closed.traffic.trafficOut.cumBytes > 0)

  assert.deepEqual((await daemon.ask()).subsystems.connections, [])
})

test('the DHT is told by the prefix that peers share with the node', options, async (t) => {
  const [node, ...peers] = await Promise.all(Array.from({ length: 4 }, () => start(t)))
  const daemon = await watch(t, node)
  await Promise.all(peers.map(peer => peer.dial(node.getMultiaddrs())))

  const count = ({ subsystems: { dht } }) => dht.buckets.flatMap(({ peers }) => peers).length
  const { subsystems: { dht } } = await daemon.askUntil(state => count(state) === peers.length)

  assert.equal(dht.protocol, '/ipfs/kad/1.0.0')
  assert.equal(dht.enabled, true)
  assert.equal(dht.params.k, 20)
  assert.equal(dht.params.alpha, 10)
  assert.equal(dht.params.disjointPaths, 10)

  const key = async (peerId) => BigInt('0x' + Buffer.from(await crypto.subtle.digest('SHA-256', peerId.toMultihash().bytes)).toString('hex'))
  const sharedPrefix = async (peerId) => 256 - (await key(peerId) ^ await key(node.peerId)).toString(2).length
  const expected = await Promise.all(peers.map(async ({ peerId }) => [peerId.toString(), await sharedPrefix(peerId)]))
  const seen = dht.buckets.flatMap(({ cpl, peers }) => peers.map(({ peerId }) => [peerId, cpl]))
  assert.deepEqual(new Map(seen), new Map(expected))

  for (const { status, ageInBucket } of dht.buckets.flatMap(({ peers }) => peers)) {
    assert.equal(status, 'ACTIVE')
    assert.ok(ageInBucket < 60_000)
  }

  await peers[0].stop()
  const gone = peers[0].peerId.toString()
  await daemon.askUntil(({ subsystems: { dht } }) =>
    dht.buckets.flatMap(({ peers }) => peers).find(({ peerId }) => peerId === gone)?.status === 'MISSING')
})

test('topics are told with their subscribers and mesh', options, async (t) => {
  const [node, subscribed, other] = await Promise.all([start(t), start(t), start(t)])
  const daemon = await watch(t, node)
  node.services.pubsub.subscribe('a')
  subscribed.services.pubsub.subscribe('a')
  other.services.pubsub.subscribe('b')
  await Promise.all([subscribed, other].map(peer => peer.dial(node.getMultiaddrs())))

  const state = await daemon.askUntil(({ topics: [topic] }) => topic.meshPeerIds.length === 1)
  assert.deepEqual(state.topics, [{ name: 'a', subscribers: 1, meshPeerIds: [subscribed.peerId.toString()] }])

  node.services.pubsub.unsubscribe('a')
  assert.deepEqual((await daemon.ask()).topics, [])
})

test('own addresses tell whether they can be reached', options, async (t) => {
  const node = await start(t, {
    addresses: {
      listen: ['/ip4/127.0.0.1/tcp/0'],
      appendAnnounce: ['/dns4/node.example/tcp/4001']
    }
  })
  const daemon = await watch(t, node)
  node.components.addressManager.addObservedAddr(multiaddr('/ip4/8.8.8.8/tcp/4001'))

  const { addresses } = await daemon.ask()
  assert.deepEqual(new Map(addresses.map(({ multiaddr, reachability }) => [multiaddr, reachability])), new Map([
    [`/ip4/127.0.0.1/tcp/${tcpPort(node)}`, 'PRIVATE'],
    ['/dns4/node.example/tcp/4001', 'PUBLIC'],
    ['/ip4/8.8.8.8/tcp/4001', 'UNKNOWN']
  ]))
})

test('a connection over a relay is limited and names the one it goes over', options, async (t) => {
  const transports = [tcp(), webSockets(), circuitRelayTransport()]
  const services = { identify: identify() }
  const relay = await start(t, {
    addresses: { listen: ['/ip4/127.0.0.1/tcp/0/ws'] },
    transports,
    services: { ...services, relay: circuitRelayServer() }
  })
  const [relayed] = relay.getMultiaddrs()
  const peer = await start(t, {
    addresses: { listen: [`${relayed}/p2p-circuit`] },
    transports,
    services
  })
  const node = await start(t, { transports, services })
  const daemon = await watch(t, node)
  await node.dial(multiaddr(`${relayed}/p2p-circuit/p2p/${peer.peerId}`))

  const { subsystems: { connections } } = await daemon.ask()
  const direct = connections.find(({ peerId }) => peerId === relay.peerId.toString())
  const over = connections.find(({ peerId }) => peerId === peer.peerId.toString())
  assert.equal(connections.length, 2)
  assert.equal(direct.transportId.toString(), 'ip4+tcp+ws')
  assert.equal(direct.limited, false)
  assert.equal(over.transportId.toString(), 'ip4+tcp+ws+p2p-circuit')
  assert.equal(over.limited, true)
  assert.deepEqual(over.connId, direct.id)
})

test('resources are told with their limits', options, async (t) => {
  const [node, peer] = await Promise.all([start(t, { connectionManager: { maxConnections: 7 } }), start(t)])
  const daemon = await watch(t, node)
  await node.dial(peer.getMultiaddrs())

  const { resources } = await daemon.ask()
  assert.deepEqual(resources.find(({ name }) => name === 'conns'), { scope: 'system', name: 'conns', used: 1, limit: 7 })
  const memory = resources.find(({ name }) => name === 'memory').used
  assert.ok(memory > MEBIBYTE && memory <= process.resourceUsage().maxRSS * 1024)
})
