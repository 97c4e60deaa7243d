// A real Kubo that publishes itself to the daemon, another that connects to it, and what the bridge
// tells of the first.
import assert from 'node:assert/strict'
import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import test from 'node:test'
import { promisify } from 'node:util'
import { bridge } from '../../../../test/bridge/fake.mjs'
import { persist } from '../../../../test/bridge/real.mjs'
import { client, daemon, folder } from '../../../../test/integration/daemon.mjs'
import { collect, isTrue } from '../../../contract/fields.mjs'

const { KUBO_PUBLISHING: program } = process.env
const skip = !program && 'no Kubo: make bridge-check builds it where there is Go'
const run = promisify(execFile)

// What chance or AutoNAT brings about; the tests with a fake Kubo have it.
const ELSEWHERE = ['dht.buckets.cpl', 'dht.buckets.peers.status', 'addresses.reachability', 'snapshot_duration_ms',
  'traffic.inst_bw', 'protocols.traffic.inst_bw', 'connections.user_provided_tags']

/** A Kubo that knows nobody and, if there is a feed, publishes to it. */
async function kubo (t, feed) {
  const env = { ...process.env, IPFS_PATH: join(folder(t), 'repository') }
  const k = { ipfs: async (...args) => (await run(program, args, { env })).stdout }
  await k.ipfs('init', '--profile=test')
  for (const [key, value] of Object.entries({
    Bootstrap: [],
    'Addresses.API': '/ip4/127.0.0.1/tcp/0',
    'Addresses.Gateway': [],
    'Addresses.Swarm': ['/ip4/127.0.0.1/tcp/0', '/ip4/127.0.0.1/udp/0/quic-v1'],
    'Routing.Type': 'dht',
    'Pubsub.Enabled': true,
    ...feed && { 'Plugins.Plugins.introspectd.Config.Feed': feed }
  })) await k.ipfs('config', '--json', key, JSON.stringify(value))
  k.start = async () => {
    k.child = spawn(program, ['daemon'], { env, stdio: ['ignore', 'pipe', 'inherit'] })
    for await (const line of createInterface({ input: k.child.stdout })) if (line === 'Daemon is ready') break
    assert.equal(k.child.exitCode, null, 'Kubo ended')
    const { ID, AgentVersion, Addresses } = JSON.parse(await k.ipfs('id'))
    const port = readFileSync(join(env.IPFS_PATH, 'api'), 'utf8').split('/').at(-1)
    Object.assign(k, { id: ID, url: `http://127.0.0.1:${port}`, agent: AgentVersion, address: part => Addresses.find(a => a.includes(part)) })
  }
  k.stop = async () => { k.child.kill(); await once(k.child, 'exit') }
  t.after(() => k.child?.kill('SIGKILL'))
  await k.start()
  return k
}

test('what a Kubo publishes is shown, whichever of the two is there first', { skip, timeout: 600_000 }, async t => {
  const feed = join(folder(t), 'feed.sock')
  const [one, other] = await Promise.all([kubo(t, feed), kubo(t)])
  const d = await daemon(t, ['--feed', feed, '--interval', '20'], { expect: [/^feed_(connected|disconnected)$/] })
  const c = await client(t, d.ws)
  const shows = async expected => {
    for (;;) {
      const { state } = await c.next(60_000)
      if (expected(state)) return state
    }
  }
  const sees = (state, peer) => state.subsystems.connections.find(({ peerId, status }) => peerId === peer.id && status === 0)

  for (const part of ['/tcp/', '/quic-v1']) {
    await persist(() => one.ipfs('swarm', 'connect', other.address(part)))
    const state = await shows(state => sees(state, other)?.agentVersion)
    assert.equal(state.runtime.peerId, one.id)
    const { endpoints, agentVersion, transportId } = sees(state, other)
    assert.equal(`${endpoints.dstMultiaddr}/p2p/${other.id}`, other.address(part))
    assert.equal(agentVersion, other.agent)
    assert.equal(transportId.toString(), part === '/tcp/' ? 'ip4+tcp' : 'ip4+udp+quic-v1')
    assert.deepEqual([state.subsystems.dht.enabled, Number(state.subsystems.dht.params.k)], [true, 20])
    assert.ok(state.resources.some(({ scope, name, limit }) => scope === 'system' && name === 'conns-inbound' && limit > 0))
    await shows(({ protocols, traffic }) => traffic.trafficIn.cumBytes > 0 && protocols.some(p => p.protocol === '/ipfs/id/1.0.0'))

    await one.stop()
    await one.start()
  }
  await shows(state => state.runtime.peerId === one.id && !sees(state, other))
})

test('the README tells what the bridge to Kubo tells', { skip, timeout: 600_000 }, async t => {
  const feed = join(folder(t), 'feed.sock')
  const [one, other] = await Promise.all([kubo(t), kubo(t)])
  const d = await daemon(t, ['--feed', feed, '--interval', '100'], { expect: [/^feed_(connected|disconnected)$/] })
  bridge(t, ['kubo', one.url, '--to', feed])
  const c = await client(t, d.ws)
  await persist(() => other.ipfs('swarm', 'connect', one.address('/tcp/'))) // so that one is the responder
  const subscription = spawn('curl', ['-sN', '-X', 'POST', `${one.url}/api/v0/pubsub/sub?arg=udG9waWMx`], { stdio: 'ignore' })
  const others = spawn('curl', ['-sN', '-X', 'POST', `${other.url}/api/v0/pubsub/sub?arg=udG9waWMx`], { stdio: 'ignore' })
  t.after(() => { subscription.kill(); others.kill() })

  const told = new Set()
  const missing = () => {
    try { return isTrue('bridge to Kubo', told, ELSEWHERE) } catch (error) { return error }
  }
  for (const end = Date.now() + 100_000; missing() && Date.now() < end;) {
    collect(told, (await c.next(60_000)).state)
  }
  assert.ifError(missing())
})

test('a configuration that is none is refused', { skip, timeout: 300_000 }, async t => {
  const env = { ...process.env, IPFS_PATH: join(folder(t), 'repository') }
  await run(program, ['init', '--profile=test'], { env })
  await run(program, ['config', '--json', 'Plugins.Plugins.introspectd.Config', '["/run/node.sock"]'], { env })
  await assert.rejects(run(program, ['daemon'], { env }), /Config must be like/)
})
