// What the observer toolkit's UI takes for granted stands in every State, wherever it
// comes from and however it is asked for: it shows a white page otherwise.
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { connect, createServer } from 'node:net'
import { join } from 'node:path'
import { test } from 'node:test'
import { promisify } from 'node:util'
import { build, client, daemon, folder, ServerMessage } from './daemon.mjs'
import { commandClient } from './command-client.mjs'
import { encodeState, feedDaemon, node } from './feed-node.mjs'
import { recording, save } from './recording.mjs'

const has = (message, ...fields) => {
  for (const field of fields) assert.ok(message[field] != null && Object.hasOwn(message, field), field)
}

// Returns how many connections and streams there are.
function assertComplete ({ subsystems }) {
  has(subsystems, 'dht')
  has(subsystems.dht, 'params')
  assert.ok(subsystems.dht.buckets.length > 0)
  const streams = subsystems.connections.flatMap(c => {
    has(c, 'streams')
    return c.streams.streams
  })
  for (const of of [...subsystems.connections, ...streams]) {
    has(of, 'timeline', 'traffic')
    has(of.traffic, 'trafficIn', 'trafficOut')
  }
  return [subsystems.connections.length, streams.length]
}

// As little as a node or a recording can say.
const bare = { subsystems: { connections: [{}, { streams: { streams: [{}, { traffic: { trafficIn: {} } }] } }] } }

async function socketPair (t) {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const socket = connect(server.address().port, '127.0.0.1')
  await Promise.all([once(server, 'connection'), once(socket, 'connect')])
  t.after(() => { socket.destroy(); server.close() })
}

const sources = {
  async kernel (t) {
    await socketPair(t)
    return daemon(t, ['--pid', `${process.pid}`, '--interval', '10'], { expect: [/^watching /] })
  },
  async feed (t) {
    const d = await feedDaemon(t, ['--interval', '10'])
    await node(t, d, () => encodeState(0, bare))
    return d
  },
  async joined (t) {
    await socketPair(t)
    const d = await feedDaemon(t, ['--interval', '10', '--pid', `${process.pid}`], { expect: [/^watching /] })
    await node(t, d, () => encodeState(0, bare))
    return d
  },
  async replay (t) {
    const states = [1, 2, 3, 4, 5, 6].map(n => ({ state: { instantTs: 1000 + n, ...bare } }))
    return daemon(t, ['--replay', save(t, recording(...states)), '--loop', '--interval', '10'])
  }
}

for (const [name, begin] of Object.entries(sources)) {
  test(`${name}: pulled, pushed, requested and recorded`, async t => {
    const d = await begin(t)
    const expected = ['feed', 'replay'].includes(name) ? [2, 2] : undefined
    const check = state => {
      const counts = assertComplete(state)
      assert.ok(counts[0] > 0)
      if (expected) assert.deepEqual(counts, expected)
    }

    const pull = await client(t, d.ws)
    check((await pull.received(1)).state)

    const c = await commandClient(t, d.ws)
    await c.ok('HELLO')
    c.send('REQUEST', { source: 'STATE' })
    await c.count('states', 1)
    await c.ok('PUSH_ENABLE', { source: 'STATE' })
    await c.count('states', 2)
    for (const message of c.received)
      if (message.payload === 'state') check(ServerMessage.decode(message.message).state)
    c.socket.terminate()

    const path = join(folder(t), 'r')
    await promisify(execFile)(join(build, 'introspect'), ['--record', path, '--count', '2', d.host])
    const bytes = readFileSync(path), kinds = []
    for (let at = 4; at < bytes.length; at += 8 + bytes.readUInt32LE(at + 4)) {
      const message = ServerMessage.decode(bytes.subarray(at + 8, at + 8 + bytes.readUInt32LE(at + 4)))
      kinds.push(message.payload)
      if (message.state) check(message.state)
      if (message.response) assert.equal(Number(message.response.effectiveConfig.stateSnapshotIntervalMs), 10)
    }
    assert.deepEqual(kinds, ['runtime', 'response', 'state', 'state'])
  })
}

test('the empty DHT of the kernel source is none for Prometheus', async t => {
  const d = await sources.kernel(t)
  const { stdout } = await promisify(execFile)(join(build, 'introspect'), ['--json', '--count', '1', d.host])
  assert.equal(JSON.parse(stdout).subsystems.dht.enabled ?? false, false)
  assert.doesNotMatch(await (await fetch(`${d.url}metrics`)).text(), /libp2p_dht/)
})
