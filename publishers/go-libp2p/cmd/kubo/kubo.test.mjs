// A real Kubo that publishes itself to the daemon, and another that connects to it.
import assert from 'node:assert/strict'
import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import test from 'node:test'
import { promisify } from 'node:util'
import { client, daemon, folder } from '../../../../test/integration/daemon.mjs'

const { KUBO_PUBLISHING: program } = process.env
const skip = !program && 'no Kubo: make bridge-check builds it where there is Go'
const run = promisify(execFile)

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
    Object.assign(k, { id: ID, agent: AgentVersion, address: part => Addresses.find(a => a.includes(part)) })
  }
  k.stop = async () => { k.child.kill(); await once(k.child, 'exit') }
  t.after(() => k.child?.kill('SIGKILL'))
  await k.start()
  return k
}

test('what a Kubo publishes is shown, whichever of the two is there first', { skip, timeout: 240_000 }, async t => {
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
    await one.ipfs('swarm', 'connect', other.address(part))
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

test('a configuration that is none is refused', { skip, timeout: 120_000 }, async t => {
  const env = { ...process.env, IPFS_PATH: join(folder(t), 'repository') }
  await run(program, ['init', '--profile=test'], { env })
  await run(program, ['config', '--json', 'Plugins.Plugins.introspectd.Config', '["/run/node.sock"]'], { env })
  await assert.rejects(run(program, ['daemon'], { env }), /Config must be like/)
})
