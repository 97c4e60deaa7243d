// `--feed` and `--pid` beside a real node of each implementation, connected over TCP and QUIC in
// both directions: each connection has the node's names and the kernel's bytes.
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { connect } from 'node:net'
import { join } from 'node:path'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { client, countsUdp, daemon, folder, schema } from '../../test/integration/daemon.mjs'
import { built, publishers, run } from './publishers.mjs'

const { values: { CLOSED } } = schema.lookupEnum('introspection.Status')
const PATIENCE = 120_000 // ms
const SENT = 1024 * 1024
// most: with what the muxer and gossipsub add; over QUIC also with what was lost and sent again, and
// on a busy machine much is taken for lost
const TRANSPORTS = [
  { transport: 'ip4+tcp', part: '/tcp/', most: 1.1 * SENT },
  { transport: 'ip4+udp+quic-v1', part: '/quic-v1', most: Infinity }
]
const able = publishers.filter(p => !p.alone && !p.skip)
const moved = ({ traffic: { trafficIn, trafficOut } }) => [trafficIn, trafficOut].map(({ cumBytes }) => Number(cumBytes))

for (const publisher of publishers.filter(p => !p.alone)) {
  const skip = publisher.skip || (!countsUdp() && 'needs root, for eBPF')

  test(`names of ${publisher.name}-libp2p and bytes of the kernel`, { skip, timeout: 3 * PATIENCE }, async t => {
    able.forEach(built) // before anybody waits for an answer
    const path = folder(t)
    const feed = join(path, 'feed.sock')
    const node = await run(t, publisher, feed, { swarm: true })
    const d = await daemon(t, ['--feed', feed, '--pid', `${node.child.pid}`, '--interval', '20'],
      { expect: [/^feed_(connected|disconnected)$/, /^watching /] })
    const c = await client(t, d.ws)
    const open = async () => (await c.next()).state.subsystems.connections.filter(({ status }) => status !== CLOSED)

    /** Asks until what is told is as the assertions say. */
    async function agreed (assertions) {
      for (const end = Date.now() + PATIENCE; ; await sleep(50)) {
        const connections = await open()
        try {
          return assertions(connections)
        } catch (error) {
          if (Date.now() > end) throw error
        }
      }
    }
    await d.line(/^feed_connected/)
    await open() // from now on UDP is counted

    const peers = []
    for (const ends of TRANSPORTS) {
      for (const dials of [true, false]) {
        const peer = await run(t, able[peers.length % able.length], join(path, 'nobody.sock'), { swarm: true })
        const [from, to] = dials ? [node, peer] : [peer, node]
        const address = node => node.addresses.find(address => address.includes(ends.part))
        if (!address(from) || !address(to)) {
          t.diagnostic(`without ${ends.transport} between ${from.name} and ${to.name}`)
          continue
        }
        // by a name, which is not what the kernel knows; rust's program has no DNS
        await from.tell(`dial ${from.name === 'rust' ? address(to) : address(to).replace('/ip4/127.0.0.1/tcp/', '/dns4/localhost/tcp/')}`)
        peers.push({ ...peer, ...ends, dials })
      }
    }
    const ofPeer = (connections, { peerId }) => {
      const all = connections.filter(connection => connection.peerId === peerId)
      assert.equal(all.length, 1)
      return all[0]
    }
    const before = await agreed(connections => {
      for (const peer of peers) {
        const found = ofPeer(connections, peer)
        assert.equal(found.transportId.toString(), peer.transport)
        assert.equal(found.role, peer.dials ? 0 : 1)
        assert.notEqual(found.agentVersion, '')
        assert.deepEqual([found.kernelTraffic, found.unlisted], [true, false], `${peer.transport} ${peer.name} ${peer.dials ? 'dialed' : 'accepted'}`)
      }
      assert.equal(connections.length, peers.length)
      return peers.map(peer => moved(ofPeer(connections, peer)))
    })
    for (const { peerId } of peers) await node.tell(`echo ${peerId} ${SENT}`)
    await agreed(connections => peers.forEach((peer, i) => {
      const now = moved(ofPeer(connections, peer))
      for (const way of [0, 1]) {
        const bytes = now[way] - before[i][way]
        assert.ok(bytes >= SENT && bytes < peer.most, `${peer.transport} ${peer.name}: ${bytes} bytes`)
      }
    }))
    await unlisted(t, node, open)
  })
}

/** Waits until a connection that the node does not know of is marked: nobody says anything over it. */
async function unlisted (t, node, open) {
  const [, , host, , port] = node.addresses.find(address => address.includes('/tcp/')).split('/')
  for (;;) { // the node ends one that stays silent
    const stranger = connect(Number(port), host).on('error', () => {})
    t.after(() => stranger.destroy())
    await once(stranger, 'connect')
    const own = `/ip4/${stranger.localAddress}/tcp/${stranger.localPort}`
    while (!stranger.closed) {
      const found = (await open()).find(({ endpoints }) => endpoints.dstMultiaddr === own)
      if (!found) continue
      assert.deepEqual([found.peerId, found.unlisted, found.kernelTraffic], ['', true, true])
      return
    }
  }
}
