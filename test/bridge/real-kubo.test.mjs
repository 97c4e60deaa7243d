// Real Kubos on loopback that know nobody else: what the bridge tells is what `ipfs` itself prints.
import assert from 'node:assert/strict'
import { execFile, spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import test from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import { client, daemon, folder, root } from '../integration/daemon.mjs'
import { feedDaemon } from '../integration/feed-node.mjs'
import { ask, bridge } from './fake.mjs'
import { equal, freePort, persist, shows } from './real.mjs'

const KUBO = process.env.KUBO
const skip = !KUBO && 'no Kubo: make bridge-check builds it where there is Go'
const plain = resolve(root, process.env.BRIDGE_BUILD ?? 'build')
const run = promisify(execFile)
const SIZE = 3e6
// QUIC of an old Kubo does not work when a new Go built it: with KUBO_QUIC=0 all of them talk TCP.
const quic = process.env.KUBO_QUIC !== '0'

async function kubo (t) {
  const port = await freePort()
  const env = { ...process.env, IPFS_PATH: join(folder(t), 'repository') }
  const k = { url: `http://127.0.0.1:${port}`, ipfs: async (...args) => (await run(KUBO, args, { env, maxBuffer: 64e6 })).stdout }
  k.json = async (...args) => JSON.parse(await k.ipfs(...args, '--enc=json'))
  await k.ipfs('init', '--profile=test')
  await k.ipfs('bootstrap', 'rm', '--all')
  for (const [key, value] of Object.entries({
    Addresses: { API: `/ip4/127.0.0.1/tcp/${port}`, Gateway: [], Swarm: ['/ip4/127.0.0.1/tcp/0', ...(quic ? ['/ip4/127.0.0.1/udp/0/quic-v1'] : [])] },
    'Swarm.Transports.Network.QUIC': quic,
    'Swarm.ConnMgr': { HighWater: 30, LowWater: 20 },
    'Routing.Type': 'dht',
    'Pubsub.Enabled': true
  })) await k.ipfs('config', '--json', key, JSON.stringify(value))
  k.start = async () => {
    k.child = spawn(KUBO, ['daemon', '--enable-pubsub-experiment'], { env, stdio: 'ignore' })
    for (;;) {
      if (await fetch(`${k.url}/api/v0/id`, { method: 'POST' }).then(r => r.ok, () => false)) break
      assert.equal(k.child.exitCode, null, 'Kubo ended')
      await sleep(100)
    }
    const id = await k.json('id')
    k.id = id.ID
    k.address = part => id.Addresses.find(address => address.includes(part))
  }
  k.stop = async signal => { k.child.kill(signal); await once(k.child, 'exit') }
  t.after(() => k.child?.kill('SIGKILL'))
  await k.start()
  return k
}

// The first of node one is connected to the second by TCP, to the third by QUIC.
async function three (t) {
  const nodes = await Promise.all([kubo(t), kubo(t), kubo(t)])
  const [one, two, three] = nodes
  const dial = address => persist(() => one.ipfs('swarm', 'connect', address))
  return { nodes, connect: () => Promise.all([dial(two.address('/tcp/')), dial(three.address(quic ? '/quic-v1' : '/tcp/'))]) }
}

async function fetched (from, to, t) {
  const file = join(folder(t), 'content')
  writeFileSync(file, randomBytes(SIZE))
  const cid = (await from.ipfs('add', '-q', file)).trim()
  // Who is asked before the other knows the connection is asked again after a minute only.
  for (let i = 0; i < 30; i++) if (await to.ipfs('--timeout=5s', 'pin', 'add', cid).catch(() => false)) return
  assert.fail('the content did not come')
}

// As `ipfs stats bw` prints bytes.
function rounded (bytes) {
  const power = bytes < 10 ? 0 : Math.floor(Math.log10(bytes) / 3)
  const value = Math.floor(bytes / 1000 ** power * 10 + 0.5) / 10
  return `${value < 10 && power > 0 ? value.toFixed(1) : value.toFixed(0)} ${['B', 'kB', 'MB', 'GB'][power]}`
}

const text = bytes => Buffer.from(bytes, 'base64').toString()
const sorted = (list, key) => list.toSorted((a, b) => key(a) < key(b) ? -1 : 1)

test('peers, directions, agents, streams, bandwidth, buckets, limits are what ipfs prints', { skip }, async t => {
  const { nodes: [one, two, three_], connect } = await three(t)
  await connect()
  await fetched(two, one, t)
  await fetched(three_, one, t)
  const subscription = spawn('curl', ['-sN', '-X', 'POST', `${one.url}/api/v0/pubsub/sub?arg=udG9waWMx`], { stdio: 'ignore' })
  t.after(() => subscription.kill())
  const state = async k => {
    const { state, said, code } = await ask(t, 'kubo', k.url, { from: plain })
    assert.equal(said, '')
    assert.equal(code, 0)
    return state
  }
  const peer = (c, address, direction, agent, streams) => [c, address, direction, agent, streams.toSorted()]
  for (const k of [one, two, three_]) {
    await equal(
      async () => sorted((await state(k)).subsystems.connections.map(c => peer(c.peerId, c.endpoints.dstMultiaddr, c.role === 'RESPONDER' ? 1 : 2, c.agentVersion, (c.streams.streams ?? []).map(s => s.protocol))), c => c[0]),
      async () => sorted((await k.json('swarm', 'peers', '-v', '--identify')).Peers.map(p => peer(p.Peer, p.Addr, p.Direction, p.Identify.AgentVersion, (p.Streams ?? []).map(s => s.Protocol))), c => c[0]))
    await equal(
      async () => { const { trafficIn, trafficOut } = (await state(k)).traffic; return [trafficIn, trafficOut].map(t => rounded(Number(t.cumBytes ?? 0))) },
      async () => [...(await k.ipfs('stats', 'bw')).matchAll(/^Total(?:In|Out): (.*)$/gm)].map(match => match[1]))
    await equal(
      async () => (await state(k)).subsystems.dht.buckets.map(b => (b.peers ?? []).map(p => [p.peerId, p.status !== 'MISSING'])),
      async () => JSON.parse(await k.ipfs('stats', 'dht', 'lan', '--enc=json')).Buckets.map(b => (b.Peers ?? []).map(p => [p.ID, p.Connected])))
    await equal(
      async () => (await state(k)).resources.filter(r => r.scope === 'system' && /^(conns|streams|open)/.test(r.name)).map(r => [Number(r.used ?? 0), Number(r.limit ?? 0)]),
      async () => {
        const { System: s } = await k.json('swarm', 'resources')
        return ['Conns', 'ConnsInbound', 'ConnsOutbound', 'Streams', 'StreamsInbound', 'StreamsOutbound', 'FD'].map(key => [s[`${key}Usage`], s[key] === 'unlimited' ? 0 : s[key]])
      })
  }
  const told = await state(one)
  assert.equal(told.runtime.peerId, one.id)
  assert.equal(told.runtime.version, (await one.json('version')).Version)
  assert.deepEqual(told.addresses.map(a => a.multiaddr).toSorted(), (await one.json('swarm', 'addrs', 'local')).Strings.toSorted())
  assert.deepEqual(new Set(told.subsystems.connections.map(c => text(c.transportId))), new Set(['ip4+tcp', ...(quic ? ['ip4+udp+quic-v1'] : [])]))
  // Kubo counts by protocol once a second.
  await equal(async () => {
    const bitswap = (await state(one)).protocols.find(p => p.protocol.startsWith('/ipfs/bitswap'))
    return bitswap === undefined || Number(bitswap.traffic.trafficIn.cumBytes) > 2 * SIZE
  }, async () => true)
  await equal(async () => Number((await state(one)).traffic.trafficIn.cumBytes) > 2 * SIZE, async () => true)
  await equal(async () => (await state(one)).topics?.map(topic => topic.name), async () => ['topic1'])
  assert.deepEqual(told.resources.filter(r => r.scope === 'connection-manager').map(r => [r.name, r.used, r.limit]), [['high-water', '2', '30'], ['low-water', '2', '20']])
})

test('with --pid the kernel\'s bytes stand on the connections, over TCP and QUIC', { skip: skip || (process.getuid() !== 0 && 'needs root') }, async t => {
  const { nodes: [one, two, three_], connect } = await three(t)
  const d = await feedDaemon(t, ['--interval', '100', '--pid', `${one.child.pid}`], { expect: [/^watching /], from: plain })
  bridge(t, ['kubo', one.url, '--to', d.feed], { from: plain })
  const c = await client(t, d.ws)
  await c.next()
  await connect()
  await Promise.all([fetched(two, one, t), fetched(three_, one, t)])
  for (const [part, peer] of [['/tcp/', two], [quic ? '/quic-v1' : '/tcp/', three_]]) {
    const found = await shows(c, each => each.peerId === peer.id && each.endpoints.dstMultiaddr.includes(part), each => each.kernelTraffic && Number(each.traffic.trafficIn.cumBytes) > SIZE)
    assert.match(found.agentVersion, /^kubo\//)
    assert.ok(found.streams.streams.length > 0)
    assert.equal(found.unlisted, false)
    // over QUIC what was taken for lost comes again, on a busy machine much of it
    if (part === '/tcp/') assert.ok(Number(found.traffic.trafficIn.cumBytes) < 2 * SIZE)
  }
  // The bridge's own connection to the API is one that the node does not list; it changes no other part.
  const { state } = await c.next()
  assert.ok(state.subsystems.connections.some(each => each.unlisted && each.endpoints.srcMultiaddr.endsWith(`/tcp/${new URL(one.url).port}`)))
  assert.deepEqual(state.subsystems.dht.buckets.map(bucket => bucket.cpl), [...state.subsystems.dht.buckets.keys()])
  assert.equal(Number(state.subsystems.dht.params.k), 20)
})

test('node and daemon are restarted in both orders', { skip }, async t => {
  const { nodes: [one, two], connect } = await three(t)
  await connect()
  const path = join(folder(t), 'feed')
  const start = () => daemon(t, ['--interval', '100', '--feed', path], { from: plain, expect: [/^feed_(dis)?connected/] })
  const b = bridge(t, ['kubo', one.url, '--to', path], { from: plain })
  const shown = async d => {
    const c = await client(t, d.ws)
    for (const end = Date.now() + 100000; Date.now() < end;) {
      const { state } = await c.next()
      if (state.subsystems?.connections?.some(each => each.peerId === two.id)) return c.socket.terminate()
      await sleep(100)
    }
    assert.fail(`never shown: ${b.lines.join('\n')}`)
  }
  let d = await start()
  await shown(d)
  // The node goes and comes while somebody watches.
  const watcher = await client(t, d.ws)
  await one.stop('SIGKILL')
  watcher.ready()
  watcher.ready()
  await sleep(1500)
  await one.start()
  await connect()
  await shown(d)
  watcher.socket.terminate()
  // First the node goes, then the daemon; first the daemon comes, then the node.
  await one.stop('SIGTERM')
  await d.stop()
  d = await start()
  await one.start()
  await connect()
  await shown(d)
  // First the daemon goes, then the node; first the node comes, then the daemon.
  await d.stop()
  await one.stop('SIGTERM')
  await one.start()
  await connect()
  d = await start()
  await shown(d)
  assert.equal(b.child.exitCode, null)
  const events = b.lines.map(line => line.split(' ')[0])
  for (const [away, back] of [['node_away', 'node_back'], ['feed_disconnected', 'feed_connected']]) {
    assert.ok(Math.abs(events.filter(e => e === away).length - events.filter(e => e === back).length) <= 1, events.join(' '))
    assert.ok(events.filter(e => e === away).length <= 4, events.join(' '))
  }
})
