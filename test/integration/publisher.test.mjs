// The js-libp2p publisher with real nodes and the real daemon.
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { test } from 'node:test'
import { createNode, ECHO } from '../../publishers/js-libp2p/example/node.mjs'
import { publish } from '../../publishers/js-libp2p/src/index.js'
import { client, daemon, folder, root, schema } from './daemon.mjs'

const { values: Status } = schema.lookupEnum('introspection.Status')
const { values: Role } = schema.lookupEnum('introspection.Role')
const { values: Reachability } = schema.lookupEnum('introspection.OwnAddress.Reachability')

const limit = { timeout: 180000 }
const expect = [/^feed_(connected|disconnected)$/]
const options = feed => ['--feed', feed, '--interval', '20']

// Asks for snapshots until one is as expected.
async function shows (c, expected) {
  for (;;) {
    const { state } = await c.next()
    if (expected(state)) return state
  }
}

async function libp2p (t, init) {
  const node = await createNode(init)
  t.after(() => node.stop())
  return node
}

// The example in a process of its own, so that it can be killed.
async function example (t, feed) {
  const script = join(root, 'publishers/js-libp2p/example/example.mjs')
  const child = spawn(process.execPath, [script, '--feed', feed], { stdio: ['ignore', 'pipe', 'inherit'] })
  const exit = once(child, 'exit')
  const lines = createInterface({ input: child.stdout })
  const peers = []
  t.after(() => child.kill('SIGKILL'))
  for await (const line of lines) {
    const [, peer] = line.match(/^(?:publishing|connected) (\S+)/)
    if (peers.push(peer) === 3) break
  }
  const [peerId, ...others] = peers
  return {
    peerId,
    isShown: state => state.runtime.peerId === peerId &&
      others.every(other => state.subsystems?.connections.some(({ peerId }) => peerId === other)),
    async kill () {
      child.kill('SIGKILL')
      await exit
    }
  }
}

// A daemon that is to be killed, and so has no end that could be checked.
async function mortal (t, feed) {
  const d = await daemon({ after () {} }, options(feed))
  t.after(() => d.child.kill('SIGKILL'))
  d.kill = () => {
    d.child.kill('SIGKILL')
    return d.exit
  }
  return d
}

test('a client sees what the node knows', limit, async t => {
  const feed = join(folder(t), 'feed.sock')
  const d = await daemon(t, options(feed), { expect })
  const [node, dialed, dialer] = await Promise.all([
    libp2p(t), libp2p(t, { nodeInfo: { userAgent: 'dialed/1' } }), libp2p(t, { nodeInfo: { userAgent: 'dialer/2' } })])
  const publisher = publish(node, { path: feed })
  t.after(() => publisher.stop())
  const c = await client(t, d.ws)

  for (const { services } of [node, dialed]) services.pubsub.subscribe('topic')
  await node.dial(dialed.getMultiaddrs())
  await dialer.dial(node.getMultiaddrs())
  const stream = await node.dialProtocol(dialed.peerId, ECHO)
  let echoed = 0
  stream.addEventListener('message', ({ data }) => { echoed += data.byteLength })
  stream.send(new Uint8Array(100000))
  while (echoed < 100000) await once(stream, 'message')

  const state = await shows(c, ({ subsystems, topics }) =>
    subsystems.connections.every(({ agentVersion }) => agentVersion) && subsystems.connections.length === 2 &&
    subsystems.dht.buckets.flatMap(({ peers }) => peers).length === 2 && topics[0]?.meshPeerIds.length === 1)

  assert.equal(state.runtime.source, 'feed')
  assert.equal(state.runtime.implementation, 'js-libp2p')
  assert.equal(state.runtime.peerId, node.peerId.toString())
  assert.equal(state.runtime.eventTypes.length, 5)

  const byPeer = ({ peerId }) => state.subsystems.connections.find(c => c.peerId === peerId.toString())
  const [out, in_] = [dialed, dialer].map(byPeer)
  assert.deepEqual([out.agentVersion, out.role, out.status], ['dialed/1', Role.INITIATOR, Status.ACTIVE])
  assert.deepEqual([in_.agentVersion, in_.role, in_.status], ['dialer/2', Role.RESPONDER, Status.ACTIVE])
  for (const { attribs, transportId } of [out, in_]) {
    assert.equal(attribs.encryption, '/noise')
    assert.equal(attribs.multiplexer, '/yamux/1.0.0')
    assert.equal(transportId.toString(), 'ip4+tcp')
  }
  assert.equal(out.endpoints.dstMultiaddr, dialed.getMultiaddrs()[0].toString())

  const { traffic, role } = out.streams.streams.find(({ protocol }) => protocol === ECHO)
  assert.equal(role, Role.INITIATOR)
  assert.equal(Number(traffic.trafficOut.cumBytes), 100000)
  assert.equal(Number(traffic.trafficIn.cumBytes), 100000)
  const echo = state.protocols.find(({ protocol }) => protocol === ECHO)
  assert.equal(Number(echo.traffic.trafficOut.cumBytes), 100000)
  const sent = Number(out.traffic.trafficOut.cumBytes)
  assert.ok(sent > 100000 && sent < 110000, `${sent} bytes`)
  assert.ok(Number(state.traffic.trafficOut.cumBytes) > sent)

  const inDht = state.subsystems.dht.buckets.flatMap(({ peers }) => peers.map(({ peerId }) => peerId))
  assert.deepEqual(inDht.sort(), [dialed, dialer].map(({ peerId }) => peerId.toString()).sort())
  assert.deepEqual([Number(state.subsystems.dht.params.k), Number(state.subsystems.dht.params.alpha)], [20, 10])
  assert.deepEqual(state.topics.map(({ name, subscribers, meshPeerIds }) => [name, subscribers, meshPeerIds]),
    [['topic', 1, [dialed.peerId.toString()]]])
  assert.deepEqual(state.addresses.map(({ multiaddr, reachability }) => [multiaddr, reachability]),
    node.getMultiaddrs().map(multiaddr => [multiaddr.decapsulate('/p2p').toString(), Reachability.PRIVATE]))

  await dialer.stop()
  const gone = await shows(c, ({ subsystems }) =>
    subsystems.connections.some(({ peerId, status }) => peerId === in_.peerId && status === Status.CLOSED))
  assert.equal(gone.subsystems.connections.length, 2)
  const { state: { subsystems } } = await c.next()
  assert.deepEqual(subsystems.connections.map(({ peerId }) => peerId), [out.peerId])
})

test('nobody ready, nothing asked of the node', limit, async t => {
  const feed = join(folder(t), 'feed.sock')
  const d = await daemon(t, options(feed), { expect })
  const node = await libp2p(t)
  let taken = 0
  const { getConnections } = node
  node.getConnections = (...args) => {
    if (args.length === 0) taken++
    return getConnections.apply(node, args)
  }
  const publisher = publish(node, { path: feed })
  t.after(() => publisher.stop())
  taken = 0

  await d.line(/^feed_connected/)
  const c = await client(t, d.ws)
  await c.received(1)
  const each = taken
  assert.ok(each > 0)
  for (let n = 2; n <= 5; n++) {
    await c.next()
    assert.equal(taken, n * each)
  }
})

test('killed and started again in every order, node and daemon find each other', { timeout: 180000 }, async t => {
  const feed = join(folder(t), 'feed.sock')

  // the node before the daemon
  let node = await example(t, feed)
  let d = await mortal(t, feed)
  let c = await client(t, d.ws)
  await shows(c, node.isShown)

  // the daemon goes, its socket file stays
  await d.kill()
  d = await mortal(t, feed)
  c = await client(t, d.ws)
  await shows(c, node.isShown)

  // the node goes; the client stays
  const former = node
  await node.kill()
  node = await example(t, feed)
  assert.notEqual(node.peerId, former.peerId)
  await shows(c, node.isShown)
  assert.equal(c.socket.readyState, c.socket.OPEN)

  // both go, the daemon is back first
  await Promise.all([node.kill(), d.kill()])
  d = await mortal(t, feed)
  c = await client(t, d.ws)
  node = await example(t, feed)
  await shows(c, node.isShown)

  // both go, the node is back first; this daemon may end in order
  await Promise.all([node.kill(), d.kill()])
  node = await example(t, feed)
  d = await daemon(t, options(feed), { expect })
  c = await client(t, d.ws)
  await shows(c, node.isShown)
  const sequences = c.sequences()
  assert.deepEqual(sequences, [...sequences].sort((a, b) => a - b))
  await d.stop()
})
