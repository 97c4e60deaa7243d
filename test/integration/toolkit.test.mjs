// What the observer toolkit's UI takes for granted stands in every State that it can get, by the
// command protocol or in a recording: it shows a white page otherwise. Pull clients get what the
// source said.
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
import { completed, recording, save } from './recording.mjs'

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
  async kernel (t, options) {
    await socketPair(t)
    return daemon(t, ['--pid', `${process.pid}`, ...options], { expect: [/^watching /] })
  },
  async feed (t, options) {
    const d = await feedDaemon(t, options)
    await node(t, d, () => encodeState(0, bare))
    return d
  },
  async joined (t, options) {
    await socketPair(t)
    const d = await feedDaemon(t, ['--pid', `${process.pid}`, ...options], { expect: [/^watching /] })
    await node(t, d, () => encodeState(0, bare))
    return d
  },
  async replay (t, options) {
    const states = [1, 2, 3, 4, 5, 6].map(n => ({ state: { instantTs: 1000 + n, ...bare } }))
    return daemon(t, ['--replay', save(t, recording(...states)), '--loop', ...options])
  }
}

function messagesOf (bytes) {
  const all = []
  for (let at = 4; at < bytes.length; at += 8 + bytes.readUInt32LE(at + 4)) {
    all.push(bytes.subarray(at + 8, at + 8 + bytes.readUInt32LE(at + 4)))
  }
  return all
}

for (const [name, begin] of Object.entries(sources)) {
  test(`${name}: pushed, requested, recorded and remembered`, async t => {
    const d = await begin(t, ['--interval', '10', '--remember', '1h', '--remember-every', '0.02'])
    const expected = ['feed', 'replay'].includes(name) ? [2, 2] : undefined
    const check = state => {
      const counts = assertComplete(state)
      assert.ok(counts[0] > 0)
      if (expected) assert.deepEqual(counts, expected)
    }

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
    const kinds = []
    for (const bytes of messagesOf(readFileSync(path))) {
      const message = ServerMessage.decode(bytes)
      kinds.push(message.payload)
      if (message.state) check(message.state)
      if (message.response) assert.equal(Number(message.response.effectiveConfig.stateSnapshotIntervalMs), 10)
    }
    assert.deepEqual(kinds, ['runtime', 'response', 'state', 'state'])

    const past = messagesOf(Buffer.from(await (await fetch(`${d.url}past`)).arrayBuffer()))
    const remembered = past.map(bytes => ServerMessage.decode(bytes)).filter(m => m.state)
    assert.ok(remembered.length > 0)
    for (const { state } of remembered) assert.ok(assertComplete(state)[0] > 0)
  })

  // The page exports what the terminal client would record, to the byte.
  test(`${name}: the same snapshot for a page, a pull client and the toolkit`, async t => {
    const d = await begin(t, ['--interval', '60000'])
    const pull = await client(t, d.ws)
    await pull.received(1)
    const c = await commandClient(t, d.ws)
    await c.ok('HELLO')
    c.send('REQUEST', { source: 'STATE' })
    await c.count('states', 1)
    const toolkit = c.received.find(m => m.payload === 'state').message
    assert.equal(Buffer.compare(await completed(pull.raw[0]), toolkit), 0)
    assert.throws(() => assertComplete(pull.snapshots[0].state))
  })
}

test('the kernel source has no DHT, for Prometheus neither', async t => {
  const d = await sources.kernel(t, ['--interval', '10'])
  const { stdout } = await promisify(execFile)(join(build, 'introspect'), ['--json', '--count', '1', d.host])
  assert.equal(JSON.parse(stdout).subsystems.dht, undefined)
  assert.doesNotMatch(await (await fetch(`${d.url}metrics`)).text(), /libp2p_dht/)
})
