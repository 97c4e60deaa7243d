import assert from 'node:assert/strict'
import { once } from 'node:events'
import { test } from 'node:test'
import { publish } from 'introspectd-publisher'
import { Daemon, socketPath } from './daemon.mjs'
import { start } from './watch.mjs'

const options = { timeout: 300_000 }

test('events tell what happened, their properties the first time', options, async (t) => {
  const path = socketPath(t)
  const [node, peer, other] = await Promise.all([start(t), start(t, { nodeInfo: { userAgent: 'peer/1.2.3' } }), start(t)])
  let daemon = await Daemon.listen(t, path)
  const publisher = publish(node, { path })
  t.after(() => publisher.stop())

  const { eventTypes } = await daemon.next('runtime')
  const property = (type, name) => eventTypes.find(({ name }) => name === type).propertyTypes.find(property => property.name === name)
  assert.deepEqual(eventTypes.map(({ name }) => name), [
    'ConnectionOpened', 'ConnectionClosed', 'PeerConnected', 'PeerDisconnected', 'PeerIdentified'
  ])
  assert.deepEqual(property('PeerConnected', 'peerId'), { name: 'peerId', type: 'PEERID', hasMultiple: false })
  assert.deepEqual(property('PeerIdentified', 'listenAddrs'), { name: 'listenAddrs', type: 'STRING', hasMultiple: true })
  assert.deepEqual(property('ConnectionClosed', 'openedAt'), { name: 'openedAt', type: 'TIME', hasMultiple: false })

  const began = Date.now()
  const identified = once(node, 'peer:identify')
  const connection = await node.dial(peer.getMultiaddrs())
  await identified
  await connection.close()

  const expected = {
    PeerConnected: {
      peerId: peer.peerId.toString()
    },
    ConnectionOpened: {
      connectionId: connection.id,
      peerId: peer.peerId.toString(),
      multiaddr: connection.remoteAddr.toString(),
      direction: 'outbound'
    },
    PeerIdentified: {
      peerId: peer.peerId.toString(),
      connectionId: connection.id,
      agentVersion: 'peer/1.2.3',
      protocolVersion: 'ipfs/0.1.0',
      protocols: peer.getProtocols().sort(),
      listenAddrs: peer.getMultiaddrs().map(multiaddr => multiaddr.decapsulate('/p2p').toString())
    },
    ConnectionClosed: {
      connectionId: connection.id,
      peerId: peer.peerId.toString(),
      multiaddr: connection.remoteAddr.toString(),
      direction: 'outbound',
      status: 'closed',
      openedAt: connection.timeline.open
    },
    PeerDisconnected: {
      peerId: peer.peerId.toString()
    }
  }

  const seen = {}
  while (seen.PeerDisconnected == null || seen.ConnectionClosed == null) {
    const { type, ts, content } = await daemon.next('event')
    assert.deepEqual(type, eventTypes.find(({ name }) => name === type.name))
    assert.ok(ts >= began && ts <= Date.now())
    assert.deepEqual(new Set(Object.keys(JSON.parse(content))), new Set(type.propertyTypes.map(({ name }) => name)))
    seen[type.name] = JSON.parse(content)
  }

  seen.PeerIdentified.protocols.sort()
  assert.equal(seen.PeerIdentified.observedAddr.startsWith('/ip4/127.0.0.1/tcp/'), true)
  delete seen.PeerIdentified.observedAddr
  assert.deepEqual(seen, expected)

  await node.dial(other.getMultiaddrs())
  const again = await daemon.nextEvent('PeerConnected', other.peerId)
  assert.deepEqual(again.type, { name: 'PeerConnected', propertyTypes: [] })

  await daemon.close()
  daemon = await Daemon.listen(t, path)
  await daemon.next('runtime')
  await other.stop()
  const afresh = await daemon.nextEvent('PeerDisconnected', other.peerId)
  assert.deepEqual(afresh.type, eventTypes.find(({ name }) => name === 'PeerDisconnected'))
})
