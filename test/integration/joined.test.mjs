// --feed and --pid together: the node's names on the kernel's numbers.
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { connect, createServer } from 'node:net'
import test from 'node:test'
import { client } from './daemon.mjs'
import { encodeState, feedDaemon, node } from './feed-node.mjs'

const SHORT = ['--interval', '10', '--pid', `${process.pid}`]
const expect = [/^watching /]

// Connections from this process to a server of its own.
async function connections (t, count) {
  const server = createServer(socket => socket.on('error', () => {})).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const sockets = []
  for (let i = 0; i < count; i++) {
    sockets.push(connect(server.address().port, '127.0.0.1'))
    await once(sockets[i], 'connect')
    t.after(() => sockets[i].destroy())
  }
  t.after(() => server.close())
  return sockets
}

const end = (address, port) => `/ip4/${address}/tcp/${port}`
const ends = s => ({ srcMultiaddr: end(s.localAddress, s.localPort), dstMultiaddr: end(s.remoteAddress, s.remotePort) })
const find = (state, { srcMultiaddr, dstMultiaddr }) => state.subsystems.connections.filter(c =>
  c.endpoints.dstMultiaddr.startsWith(dstMultiaddr) &&
  (!c.endpoints.srcMultiaddr || c.endpoints.srcMultiaddr === srcMultiaddr))

// Snapshots until one is as wanted.
async function shows (c, wanted) {
  for (let i = 0; i < 5000; i++) {
    const { state } = await c.next()
    const found = wanted(state)
    if (found) return found
  }
  assert.fail(`never: ${wanted}`)
}

test('what the node lists has the bytes of the kernel, what it does not is told as such', async t => {
  const [listed, leaked] = await connections(t, 2)
  listed.write(Buffer.alloc(5000))
  leaked.write(Buffer.alloc(700))
  const d = await feedDaemon(t, SHORT, { expect })
  const c = await client(t, d.ws)
  await node(t, d, () => encodeState(0, {
    subsystems: {
      connections: [{
        id: Buffer.from('c1'),
        peerId: 'peer',
        agentVersion: 'agent/1',
        endpoints: { ...ends(listed), dstMultiaddr: `${ends(listed).dstMultiaddr}/p2p/peer` },
        traffic: { trafficOut: { cumBytes: 77, instBw: 9 } },
        streams: { streams: [{ id: Buffer.from('s1'), traffic: { trafficOut: { cumBytes: 66 } } }] }
      }]
    }
  }))
  const [joined] = await shows(c, state => {
    const found = find(state, ends(listed))
    return found[0]?.kernelTraffic && Number(found[0].traffic.trafficOut.cumBytes) >= 5000 && found
  })
  assert.equal(joined.peerId, 'peer')
  assert.equal(joined.agentVersion, 'agent/1')
  assert.equal(Number(joined.traffic.trafficOut.cumBytes), 5000)
  assert.ok(Number(joined.traffic.trafficOut.cumPackets) > 0)
  assert.ok(Number(joined.latencyNs) > 0)
  assert.equal(joined.unlisted, false)
  assert.equal(Number(joined.streams.streams[0].traffic.trafficOut.cumBytes), 66)
  const [unlisted] = await shows(c, state => find(state, ends(leaked)).filter(found => found.unlisted))
  assert.equal(Number(unlisted.traffic.trafficOut.cumBytes), 700)
  assert.equal(unlisted.peerId, '')
  assert.equal(unlisted.kernelTraffic, true)
})

test('a node that does not tell its own end: joined when only one can be meant', async t => {
  const [one, two] = await connections(t, 2)
  const d = await feedDaemon(t, SHORT, { expect })
  const c = await client(t, d.ws)
  let told = [two]
  await node(t, d, () => encodeState(0, {
    subsystems: { connections: told.map(s => ({ id: Buffer.from(`${s.localPort}`), endpoints: { dstMultiaddr: ends(s).dstMultiaddr } })) }
  }))
  // The server's ends are sockets of this process, too, and all of them are alike from afar.
  await shows(c, state => state.subsystems.connections.filter(k => k.unlisted).length >= 4)
  const { state } = await c.next()
  assert.equal(state.subsystems.connections.find(k => !k.unlisted).kernelTraffic, false)
  one.destroy()
  told = [two]
  await shows(c, s => s.subsystems.connections.find(k => !k.unlisted)?.kernelTraffic)
})

test('without the process, and without the node', async t => {
  const d = await feedDaemon(t, ['--interval', '10', '--pid', 'no-such-node'], { expect: [/^waiting /] })
  const c = await client(t, d.ws)
  const n = await node(t, d, () => encodeState(0, { subsystems: { connections: [{ id: Buffer.from('a') }] } }))
  const { state } = await c.received(1)
  assert.deepEqual(state.subsystems.connections.map(k => [k.unlisted, k.kernelTraffic]), [[false, false]])
  assert.equal(state.runtime.source, 'feed')
  n.socket.destroy()
  await d.line(/^feed_disconnected/)
})
