// Two real Lodestars on loopback that know nobody else: what the bridge tells is what they answer.
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { join, resolve } from 'node:path'
import test from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { client, folder, root } from '../integration/daemon.mjs'
import { feedDaemon } from '../integration/feed-node.mjs'
import { ask, bridge } from './fake.mjs'
import { equal, freePort, persist, shows } from './real.mjs'

const { LODESTAR, ...env } = process.env   // Lodestar takes variables of its name for options
const skip = !LODESTAR && 'no Lodestar: make bridge-check installs it where npm can'
const plain = resolve(root, process.env.BRIDGE_BUILD ?? 'build')
const GENESIS = Math.floor(Date.now() / 1000)   // the same for all, else they are of two chains

// A node of a chain without validators. namespaces: those of its API.
async function lodestar (t, namespaces) {
  const [rest, port] = [await freePort(), await freePort()]
  const n = { url: `http://127.0.0.1:${rest}` }
  const cwd = folder(t)   // where Lodestar leaves its genesis.ssz, too
  n.get = async path => (await (await fetch(n.url + path)).json()).data
  n.start = async () => {
    n.child = spawn(process.execPath, [LODESTAR, 'dev', '--dataDir', join(cwd, 'data'), '--genesisTime', `${GENESIS}`, '--genesisValidators', '8',
      '--listenAddress', '127.0.0.1', '--port', `${port}`, '--enr.ip', '127.0.0.1', '--rest.port', `${rest}`, ...namespaces.flatMap(name => ['--rest.namespace', name])],
    { cwd, stdio: ['ignore', 'pipe', 'pipe'], env: { ...env, NODE_BACKEND: 'js' } })
    n.said = ''
    for (const stream of [n.child.stdout, n.child.stderr]) stream.on('data', data => { n.said = (n.said + data).slice(-2000) })
    while (!await fetch(`${n.url}/eth/v1/node/version`).then(r => r.ok, () => false)) {
      assert.equal(n.child.exitCode, null, `Lodestar ended: ${n.said}`)
      await sleep(100)
    }
    n.identity = await n.get('/eth/v1/node/identity')
  }
  n.stop = async () => { n.child.kill('SIGKILL'); await once(n.child, 'exit') }
  n.connect = async other => {
    const { peer_id: peerId, p2p_addresses: [multiaddr] } = other.identity
    await persist(async () => {
      const { ok } = await fetch(`${n.url}/eth/v1/lodestar/connect_peer?${new URLSearchParams({ peerId, multiaddr })}`, { method: 'POST' })
      assert.ok(ok)
    })
  }
  n.disconnect = async other => fetch(`${n.url}/eth/v1/lodestar/disconnect_peer?peerId=${other.identity.peer_id}`, { method: 'POST' })
  t.after(() => n.child?.kill('SIGKILL'))
  await n.start()
  return n
}

const STANDARD = ['beacon', 'config', 'node']
const pair = t => Promise.all([lodestar(t, ['*']), lodestar(t, STANDARD)])

const state = async (t, n) => {
  const { state, said, code } = await ask(t, 'beacon', n.url, { from: plain })
  assert.equal(said, '')
  assert.equal(code, 0)
  return state
}

test('peers, directions, agents, scores, identity, version and distance are what Lodestar answers', { skip }, async t => {
  const [one, two] = await pair(t)
  await one.connect(two)
  for (const n of [one, two]) {
    await equal(
      async () => (await state(t, n)).subsystems.connections.map(c => [c.peerId, c.endpoints.dstMultiaddr, c.role === 'RESPONDER' ? 'inbound' : 'outbound', c.status]),
      async () => (await n.get('/eth/v1/node/peers')).map(p => [p.peer_id, p.last_seen_p2p_address, p.direction, p.state === 'connected' ? undefined : p.state]))
    const told = await state(t, n)
    assert.equal(told.subsystems.connections.length, 1)
    assert.equal(Buffer.from(told.subsystems.connections[0].transportId, 'base64').toString(), 'ip4+tcp')
    assert.deepEqual(told.addresses.map(a => a.multiaddr), n.identity.p2p_addresses)
    const { version } = await n.get('/eth/v1/node/version')
    assert.deepEqual(told.runtime, { implementation: 'Lodestar', version: version.split('/')[1], peerId: n.identity.peer_id })
    await equal(
      async () => (await state(t, n)).resources.find(r => r.name === 'sync-distance').used,
      async () => (await n.get('/eth/v1/node/syncing')).sync_distance)
  }
  // Agents and scores are told by a Lodestar whose API has its own namespace.
  await equal(
    async () => (await state(t, one)).subsystems.connections.map(c => [c.agentVersion, c.userProvidedTags]),
    async () => {
      const [peer] = await one.get('/eth/v1/lodestar/lodestar-peer-score-stats')   // none that is next to 0, as time makes it
      return [['lodestar/v1.5.1', peer && [`score=${peer.score.toFixed(3)}`]]]
    })
  assert.equal((await state(t, two)).subsystems.connections[0].agentVersion, undefined)
  await one.disconnect(two)
  for (const n of [one, two]) await equal(async () => (await state(t, n)).subsystems.connections, async () => undefined)
})

test('with --pid the kernel\'s bytes stand on the connection; a node that comes again is told anew', { skip: skip || (process.getuid() !== 0 && 'needs root') }, async t => {
  const [one, two] = await pair(t)
  const d = await feedDaemon(t, ['--interval', '100', '--pid', `${one.child.pid}`], { expect: [/^watching /, /^gone /], from: plain })
  const b = bridge(t, ['beacon', one.url, '--to', d.feed], { from: plain })
  const c = await client(t, d.ws)
  await c.next()
  await one.connect(two)
  const known = await shows(c, each => each.peerId === two.identity.peer_id, each => each.agentVersion && each.kernelTraffic && Number(each.traffic.trafficIn.cumBytes) > 100)
  assert.equal(known.agentVersion, 'lodestar/v1.5.1')
  assert.equal(known.unlisted, false)
  // As another node at the same place, with another identity.
  const before = one.identity.peer_id
  await one.stop()
  c.ready()   // the node is asked for somebody who watches
  await b.line(/^node_away /, 60000)
  await one.start()
  assert.notEqual(one.identity.peer_id, before)
  for (const end = Date.now() + 100000; ;) {
    const { state } = await c.next()
    if (state.runtime.peerId === one.identity.peer_id) break
    assert.ok(Date.now() < end, `${state.runtime.peerId}: ${b.lines.join('\n')}`)
  }
  await one.connect(two)
  await shows(c, each => each.peerId === two.identity.peer_id, () => true)
  assert.deepEqual(b.lines.map(line => line.split(' ')[0]).filter(event => event.startsWith('node_')).slice(0, 2), ['node_away', 'node_back'])
})
