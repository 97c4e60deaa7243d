// --remember and GET /past: what the daemon keeps though nobody watches.
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { rmSync, writeFileSync } from 'node:fs'
import { connect as connectSocket } from 'node:net'
import { join } from 'node:path'
import { test } from 'node:test'
import tls from 'node:tls'
import { client, daemon, folder, ServerMessage } from './daemon.mjs'
import { encodeState, feedDaemon, node } from './feed-node.mjs'
import { makePki } from './pki.mjs'
import { checksum, framed, recording, save, traffic } from './recording.mjs'

const SHORT = ['--interval', '10']
const REMEMBER = ['--remember', '1h', '--remember-every', '0.05']
const TOKEN = 'correct-horse.battery_staple~1'

// The messages of a recording, each as its checksum says.
function messages (bytes) {
  const all = []
  assert.equal(bytes.readUInt32LE(0), 1)
  for (let at = 4; at < bytes.length;) {
    const len = bytes.readUInt32LE(at + 4)
    const message = bytes.subarray(at + 8, at + 8 + len)
    assert.equal(message.length, len)
    assert.equal(bytes.readUInt32LE(at), checksum(message))
    all.push(ServerMessage.decode(message))
    at += 8 + len
  }
  return all
}

async function past (d, query = '') {
  const answer = await fetch(`${d.url}past${query}`)
  assert.equal(answer.status, 200)
  assert.equal(answer.headers.get('transfer-encoding'), 'chunked')
  assert.equal(answer.headers.get('cache-control'), 'no-store')
  return messages(Buffer.from(await answer.arrayBuffer()))
}

const states = all => all.filter(m => m.payload === 'state').map(m => m.state)
const event = n => ServerMessage.encodeDelimited(ServerMessage.fromObject({
  event: { type: { name: 'Test' }, ts: n, content: JSON.stringify({ n }) }
})).finish()

// The bytes of a whole answer, as they come.
function raw (d, request) {
  return new Promise((resolve, reject) => {
    const parts = []
    const socket = connectSocket(d.port, '127.0.0.1', () => socket.write(request))
    socket.on('data', data => parts.push(data)).on('error', reject)
    socket.on('end', () => { socket.end(); resolve(Buffer.concat(parts)) })
  })
}

function changing (n) {
  return encodeState(500, {
    resources: [{ name: 'memory', used: n }],
    subsystems: {
      connections: Array.from({ length: 40 }, (_, i) => ({
        id: Buffer.from(`c${i}`), peerId: `peer${i}`, traffic: traffic(i === n % 40 ? 1e9 : i), streams: { streams: [{ protocol: '/x' }] }
      }))
    }
  })
}

test('a node that nobody watches is asked at times, and what it said is a recording', async t => {
  const d = await feedDaemon(t, [...SHORT, ...REMEMBER])
  const n = await node(t, d, changing)
  await n.requested(3)
  n.socket.write(event(1))
  await n.requested(7)
  const all = await past(d)

  assert.deepEqual(all.slice(0, 2).map(m => m.payload), ['runtime', 'response'])
  assert.equal(all[0].runtime.source, 'feed')
  assert.equal(Number(all[1].response.effectiveConfig.retentionPeriodMs), 3600000)
  assert.equal(Number(all[1].response.effectiveConfig.stateSnapshotIntervalMs), 50)
  assert.ok(states(all).length >= 5)
  states(all).forEach((state, i) => {
    assert.equal(Number(state.sequence), i + 1)
    assert.equal(Number(state.resources[0].used), i + 1)
    assert.equal(state.counts.connections, 40)
    assert.equal(state.subsystems.connections.length, 16)
    assert.equal(state.subsystems.connections[0].peerId, `peer${(i + 1) % 40}`)
    assert.equal(state.topics.length, 0)
    assert.equal(state.runtime.source, 'feed')
  })
  const events = all.filter(m => m.payload === 'event')
  assert.deepEqual(events.map(m => [m.event.type.name, m.event.content]), [['Test', '{"n":1}']])
})

test('?since has what is from then on, by the wall clock', async t => {
  const d = await feedDaemon(t, [...SHORT, ...REMEMBER])
  const n = await node(t, d, changing)
  await n.requested(4)
  const since = Date.now()
  await n.requested(8)
  const all = states(await past(d, `?since=${since}`))

  assert.ok(all.length >= 2)
  // What is told of is when a snapshot was taken, which is soon after the node said it.
  for (const state of all) assert.ok(Number(state.sequence) >= 4)
  assert.equal(states(await past(d, `?since=${Date.now() + 1e6}`)).length, 0)
  for (const odd of ['?', '?other=1', '?since=0', '?since=5&other=1', '?sinc']) {
    assert.ok(states(await past(d, odd)).length > all.length, odd)
  }
  for (const wrong of ['?since=', '?since=x', '?since=2026-11-30', '?since=-1', '?since=1.5', '?since=%31',
    '?since=&other=1', '?since=99999999999999999999999']) {
    for (const method of ['GET', 'HEAD']) {
      const response = await fetch(`${d.url}past${wrong}`, { method })
      assert.deepEqual([response.status, response.headers.get('content-type'), await response.text()],
        [400, 'text/plain; charset=utf-8',
          method === 'GET' ? '400 Bad Request: since= is no number of ms since 1970\n' : ''], wrong)
    }
  }
})

test('clients get their snapshots beside it, and each is remembered once', async t => {
  const d = await feedDaemon(t, [...SHORT, ...REMEMBER])
  await node(t, d, changing)
  const c = await client(t, d.ws)
  await c.received(1)
  for (let i = 0; i < 60; i++) await c.next()
  const sequences = states(await past(d)).map(s => Number(s.sequence))
  assert.ok(sequences.length >= 2)
  assert.deepEqual(sequences, [...new Set(sequences)].sort((a, b) => a - b))
  assert.ok(sequences.length < sequences.at(-1), 'not every snapshot of a client is remembered')
})

test('without --remember there is nothing at /past, and no node is asked', async t => {
  const d = await feedDaemon(t, SHORT)
  const n = await node(t, d)
  assert.equal((await fetch(`${d.url}past`)).status, 404)
  const c = await client(t, d.ws)
  await c.received(1)
  assert.equal(n.requests, 1)
})

test('HEAD has no body, HTTP/1.0 no chunks', async t => {
  const d = await feedDaemon(t, [...SHORT, ...REMEMBER])
  const n = await node(t, d, changing)
  await n.requested(5)
  const head = await fetch(`${d.url}past`, { method: 'HEAD' })
  assert.equal(head.status, 200)
  assert.equal((await head.arrayBuffer()).byteLength, 0)
  assert.equal((await fetch(`${d.url}past`, { method: 'POST' })).status, 405)

  const old = await raw(d, `GET /past HTTP/1.0\r\nHost: ${d.host}\r\n\r\n`)
  const end = old.indexOf('\r\n\r\n') + 4
  assert.doesNotMatch(old.subarray(0, end).toString(), /transfer-encoding|content-length/i)
  assert.ok(states(messages(old.subarray(end))).length >= 4)
  const whole = await raw(d, `GET /past HTTP/1.1\r\nHost: ${d.host}\r\n\r\n`)
  assert.equal(whole.subarray(-10).toString(), '000000\r\n\r\n')
})

test('over TLS, too, an answer without chunks ends with the connection', async t => {
  const pki = makePki()
  t.after(() => rmSync(pki.path, { recursive: true }))
  const d = await feedDaemon(t, [...SHORT, ...REMEMBER, '--tls-cert', pki.file('server.pem'), '--tls-key', pki.file('server.key')])
  const n = await node(t, d, changing)
  await n.requested(8)
  const parts = []
  const socket = tls.connect({ port: d.port, host: '127.0.0.1', ca: pki.ca, servername: 'localhost' }, () =>
    socket.write(`GET /past HTTP/1.0\r\nHost: ${d.host}\r\n\r\n`))
  socket.on('data', data => parts.push(data))
  await once(socket, 'end')   // by a close_notify: not cut off
  const bytes = Buffer.concat(parts), end = bytes.indexOf('\r\n\r\n') + 4
  assert.match(bytes.subarray(0, end).toString(), /^HTTP\/1\.1 200 /)
  assert.ok(states(messages(bytes.subarray(end))).length >= 7)
})

test('it is data: Host, Origin and token are judged', async t => {
  const file = join(folder(t), 'token')
  writeFileSync(file, TOKEN, { mode: 0o600 })
  const d = await feedDaemon(t, [...SHORT, ...REMEMBER, '--token-file', file], { expect: [/^refused /] })
  const get = headers => fetch(`${d.url}past`, { headers }).then(a => a.status)
  assert.equal(await get({}), 401)
  assert.equal(await get({ authorization: `Bearer ${TOKEN}` }), 200)
  assert.equal(await get({ authorization: `Bearer ${TOKEN}`, origin: 'http://evil.example' }), 403)
  const foreign = await raw(d, `GET /past HTTP/1.1\r\nHost: evil.example\r\nAuthorization: Bearer ${TOKEN}\r\n\r\n`)
  assert.match(foreign.toString(), /^HTTP\/1\.1 403 /)
})

test('what is remembered of the kernel can be played again', async t => {
  const d = await daemon(t, [...SHORT, ...REMEMBER])
  const c = await client(t, d.ws)
  await c.received(1)
  const deadline = Date.now() + 20000
  while (states(await past(d)).length < 3 && Date.now() < deadline) await c.next()
  const bytes = Buffer.from(await (await fetch(`${d.url}past`)).arrayBuffer())
  const replay = await daemon(t, ['--replay', save(t, bytes), ...SHORT], { expect: [/^replay/] })
  const played = await client(t, replay.ws)
  const { state } = await played.received(1)
  assert.equal(state.runtime.source, 'replay')
  assert.ok(Number(state.instantTs) > 0)
})

test('a replay has its events remembered though nobody reads them', async t => {
  const file = Buffer.concat([
    recording({ runtime: { eventTypes: [{ name: 'Test' }] } }, { state: { instantTs: 1000 } }),
    ...Array.from({ length: 20 }, (_, i) => framed(Buffer.from(ServerMessage.encode(ServerMessage.fromObject(
      i % 2 ? { state: { instantTs: 1000 + 100 * i } } : { event: { type: { name: 'Test' }, ts: 1050 + 100 * i, content: `{"n":${i}}` } })).finish())))
  ])
  const d = await daemon(t, ['--replay', save(t, file), '--loop', ...SHORT, ...REMEMBER], { expect: [/^replay/] })
  const deadline = Date.now() + 30000
  let all
  do all = await past(d)
  while (!all.some(m => m.payload === 'event') && Date.now() < deadline)
  assert.ok(all.some(m => m.payload === 'event'))
})
