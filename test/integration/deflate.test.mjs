// permessage-deflate (RFC 7692), in a build with DEFLATE=1: DEFLATE_BUILD.
import assert from 'node:assert/strict'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import test from 'node:test'
import { constants, deflateRawSync, inflateRawSync } from 'node:zlib'
import { build, client, schema, ServerMessage } from './daemon.mjs'
import { encodeState, feedDaemon, node } from './feed-node.mjs'
import { BINARY, connect, frame, handshake, open, text, TEXT } from './raw.mjs'

const from = process.env.DEFLATE_BUILD ?? join(build, 'deflate')
const skip = !existsSync(join(from, 'introspectd')) && 'no build with DEFLATE=1: make check makes one'
const Ready = schema.lookupType('introspection.Ready')
const ready = fields => Buffer.from(Ready.encode(Ready.fromObject(fields)).finish())
const OFFER = { 'Sec-WebSocket-Extensions': 'permessage-deflate' }
const ANSWER = 'permessage-deflate; server_no_context_takeover; client_no_context_takeover'
const FIN = 0x80, RSV1 = 0x40, RSV2 = 0x20

// What a flush ends on is not sent (section 7.2.1).
const flushed = { finishFlush: constants.Z_SYNC_FLUSH }
const deflate = bytes => deflateRawSync(bytes, flushed).subarray(0, -4)
const inflate = bytes => inflateRawSync(Buffer.concat([bytes, Buffer.from([0, 0, 0xff, 0xff])]), flushed)
const message = (opcode, bytes) => frame(FIN | RSV1 | opcode, deflate(bytes))

// A node with connections of which some change each time.
const connections = (n, count) => Array.from({ length: count }, (_, i) => ({
  id: Buffer.from(`connection ${i}`), peerId: `12D3KooWExample${i}`, latencyNs: i % 3 === 0 ? n : 7,
  endpoints: { srcMultiaddr: '/ip4/198.51.100.7/tcp/4001', dstMultiaddr: `/ip4/203.0.113.${i % 256}/tcp/4001` }
}))

async function start (t, { count = 60 } = {}) {
  const d = await feedDaemon(t, ['--interval', '10'], { from })
  await node(t, d, n => encodeState(0, { subsystems: { connections: connections(n, count) } }))
  return d
}

// The State in a frame, compressed or not.
const stateIn = ({ first, data }) => ServerMessage.decode(first & RSV1 ? inflate(data) : data).state

test('a client of another library gets what others get, in less than half the bytes', { skip }, async t => {
  const d = await start(t)
  const a = await client(t, d.ws, { perMessageDeflate: { threshold: 0 } }), b = await client(t, d.ws)
  assert.equal(a.socket.extensions, 'permessage-deflate')
  assert.equal(b.socket.extensions, '')
  let differences = 0
  for (let i = 0; i < 30; i++) {
    const have = (await a.received(a.snapshots.length || 1)).state.sequence
    const n = a.snapshots.length
    a.ready(i % 3 ? ready({ have }) : 'r')
    const { state } = await a.received(n + 1)
    differences += Number(state.base) > 0
    assert.ok(Number(state.sequence) > Number(have))
    assert.equal(state.subsystems.connections.length, Number(state.base) ? 20 : 60)
    await b.next()
  }
  assert.ok(differences >= 15, `${differences}`)
  const message = new Map(b.snapshots.map(({ state }, i) => [Number(state.sequence), b.raw[i]]))
  const both = a.snapshots.map(({ state }, i) => [message.get(Number(state.sequence)), a.raw[i], state]).filter(([whole]) => whole)
  for (const [whole, other, state] of both) if (!Number(state.base)) assert.deepEqual(other, whole)
  // What the sockets read, per message.
  const read = c => c.socket._socket.bytesRead / c.snapshots.length
  assert.ok(read(a) < read(b) / 2, `${read(a)}, ${read(b)}`)
})

test('clients that are due the same get the same bytes; who made no offer gets them as they were', { skip }, async t => {
  const d = await start(t)
  const raws = await Promise.all([OFFER, OFFER, {}].map(fields => open(t, { port: d.port }, fields)))
  const bytes = new Map()
  for (let i = 0; i < 40; i++) {
    const frames = await Promise.all(raws.map(c => c.frame(i)))
    for (const [k, f] of frames.entries()) {
      assert.equal(f.first, FIN | BINARY | (k < 2 ? RSV1 : 0))
      const { sequence, base } = stateIn(f), key = `${k < 2} ${sequence} ${base}`
      if (bytes.has(key)) assert.deepEqual(f.data, bytes.get(key))
      bytes.set(key, f.data)
    }
    raws[0].send(message(BINARY, ready({ have: Number(stateIn(frames[0]).sequence) })))
    raws[1].send(message(BINARY, ready({ have: Number(stateIn(frames[1]).sequence) })))
    raws[2].send(text('r'))
  }
  assert.ok(bytes.size < 120, `${bytes.size} of 120 were not shared`)   // on a busy machine some are due another
})

test('offers: what is taken, what is declined, and where', { skip }, async t => {
  const d = await start(t)
  const rows = [
    ['permessage-deflate', true],
    ['PerMessage-Deflate; client_max_window_bits', true],
    ['permessage-deflate; client_max_window_bits=10; server_no_context_takeover', true],
    ['permessage-deflate ;client_no_context_takeover ; server_max_window_bits = 15', true],
    ['x-webkit-deflate-frame, permessage-deflate; server_max_window_bits=10, permessage-deflate', true],
    ['permessage-deflate; server_max_window_bits=10', false],
    ['permessage-deflate; server_max_window_bits', false],
    ['permessage-deflate; client_max_window_bits=16', false],
    ['permessage-deflate; client_max_window_bits=7', false],
    ['permessage-deflate; client_no_context_takeover=1', false],
    ['permessage-deflate; client_max_window_bits; client_max_window_bits', false],
    ['permessage-deflate; unknown', false],
    ['permessage-deflate; ; ', false],
    ['permessage', false],
    ['', false]
  ]
  for (const [offer, taken] of rows) {
    const c = await open(t, { port: d.port }, { 'Sec-WebSocket-Extensions': offer })
    assert.equal(c.field('Sec-WebSocket-Extensions'), taken ? ANSWER : undefined, offer)
    c.socket.destroy()
  }
  const command = await connect(t, { port: d.port })
  command.send(handshake(OFFER, '/introspect'))
  await command.answered()
  assert.equal(command.status, 101)
  assert.equal(command.field('Sec-WebSocket-Extensions'), undefined)
})

test('every compressed message is a ready, whatever is in it', { skip }, async t => {
  const d = await start(t)
  const c = await open(t, { port: d.port }, OFFER)
  let frames = 0
  const next = async (...parts) => {
    c.send(...parts)
    return stateIn(await c.frame(frames++))
  }
  let last = await next()
  let seed = 1
  const random = n => Buffer.from(Array.from({ length: n }, () => (seed = seed * 48271 % 2147483647) & 255))
  const bytes = deflate(ready({ have: 1 }))
  const pieces = [...bytes].map((byte, i) => frame((i === 0 ? RSV1 | BINARY : 0) | (i === bytes.length - 1 ? FIN : 0), Buffer.from([byte])))
  for (const parts of [
    [message(TEXT, 'r')], [message(TEXT, Buffer.from([0xff]))], [message(BINARY, '')], [frame(FIN | RSV1 | BINARY, '')],
    pieces, [frame(RSV1 | BINARY, bytes.subarray(0, 2)), frame(FIN, bytes.subarray(2))],
    [message(BINARY, Buffer.alloc(24, 1))], [message(BINARY, Buffer.alloc(25, 1))], [message(BINARY, random(3000))],
    [message(BINARY, Buffer.alloc(3_000_000))],   // of which 3 KB come
    ...Array.from({ length: 300 }, (_, i) => [frame(FIN | RSV1 | BINARY, random(i % 40))])
  ]) {
    const state = await next(...parts)
    assert.ok(Number(state.sequence) > Number(last.sequence))
    last = state
  }
  // Fragments are put together before they are read as a wish.
  for (const cut of [0, 1, 3]) {
    const wish = deflate(ready({ have: Number(last.sequence) }))
    const state = await next(frame(RSV1 | BINARY, wish.subarray(0, cut)), frame(FIN, wish.subarray(cut)))
    assert.equal(Number(state.base), Number(last.sequence))
    last = state
  }
})

test('RSV1 where nothing is compressed, and other bits, are framing errors', { skip }, async t => {
  const d = await start(t)
  for (const [fields, ...parts] of [
    [{}, message(TEXT, 'r')], [OFFER, frame(FIN | RSV2 | TEXT, 'r')], [OFFER, frame(FIN | RSV1 | RSV2 | TEXT, 'r')],
    [OFFER, frame(FIN | RSV1 | 9, '')], [OFFER, frame(FIN | RSV1 | 8, '')], [OFFER, frame(RSV1 | TEXT, 'r'), frame(FIN | RSV1, 'r')],
    [OFFER, frame(FIN | RSV1 | BINARY, Buffer.alloc(4097))]
  ]) {
    const c = await open(t, { port: d.port }, fields)
    await c.frame(0)
    c.send(...parts)
    assert.equal((await c.frame(1)).data.readUInt16BE(0), parts[0].length > 4097 ? 1009 : 1002)
  }
})

test('what is long, or no smaller for it, goes out as it is', { skip }, async t => {
  const d = await start(t, { count: 3000 })
  const c = await open(t, { port: d.port }, OFFER)
  const whole = await c.frame(0)
  assert.ok(whole.data.length > 256 << 10)
  assert.equal(whole.first, FIN | BINARY)
  c.send(message(BINARY, ready({ have: Number(stateIn(whole).sequence) })))
  const difference = await c.frame(1)
  assert.equal(difference.first, FIN | RSV1 | BINARY)
  assert.equal(stateIn(difference).subsystems.connections.length, 1000)
})
