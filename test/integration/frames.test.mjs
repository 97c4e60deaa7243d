// RFC 6455 from outside: what is answered to which frame.
import assert from 'node:assert/strict'
import { client, daemon, ServerMessage, test } from './daemon.mjs'
import { encodeState, feedDaemon, node } from './feed-node.mjs'
import {
  BINARY, CLOSE, close, connect, frame, handshake, open, PING, ping, PONG, pong, TEXT, text
} from './raw.mjs'

const BIG = 8 << 20   // bytes: more than the sockets of one connection hold
const HOUR = ['--interval', '3600000']

const closeCode = f => f.data.length < 2 ? undefined : f.data.readUInt16BE(0)

// name: the frames, then the close code that must come back.
const refused = {
  'unmasked text': [frame(0x81, 'r', { masked: false }), 1002],
  'unmasked close': [frame(0x88, '', { masked: false }), 1002],
  'opcode 3': [frame(0x83), 1002],
  'opcode 7': [frame(0x87, 'x'), 1002],
  'opcode 11': [frame(0x8b), 1002],
  'opcode 15': [frame(0x8f, 'x'), 1002],
  'RSV1, as compressed messages have it': [frame(0xc1, 'r'), 1002],
  'RSV2': [frame(0xa1, 'r'), 1002],
  'RSV3': [frame(0x91, 'r'), 1002],
  'RSV on a ping': [frame(0xc9), 1002],
  'continuation of nothing': [frame(0x80, 'r'), 1002],
  'first continuation of nothing': [frame(0x00, 'r'), 1002],
  'continuation after the message ended': [frame(0x01, 'r'), frame(0x80), frame(0x80), 1002],
  'text within text': [frame(0x01, 'r'), frame(0x81, 'r'), 1002],
  'binary within text': [frame(0x01, 'r'), frame(0x02, 'r'), 1002],
  'ping in fragments': [frame(PING, 'a'), 1002],
  'pong in fragments': [frame(PONG, 'a'), 1002],
  'close in fragments': [frame(CLOSE, Buffer.from([3, 232])), 1002],
  'ping of 126 bytes': [ping('x'.repeat(126)), 1002],
  'close of 126 bytes': [close(1000, 'x'.repeat(124)), 1002],
  'pong of 65536 bytes': [pong('x'.repeat(65536)), 1002],
  'close payload of one byte': [frame(0x80 | CLOSE, 'x'), 1002],
  'length with the top bit set': [frame(0x82, '', { form: 8, length: 2n ** 63n }), 1002],
  'length of all ones': [frame(0x82, '', { form: 8, length: 2n ** 64n - 1n }), 1002],
  '5 in two bytes': [frame(0x82, 'abcde', { form: 2 }), 1002],
  '126 in eight bytes': [frame(0x82, 'x'.repeat(126), { form: 8 }), 1002],
  'text that is not UTF-8': [text(Buffer.from([0xff])), 1007],
  'text with a surrogate': [text(Buffer.from([0xed, 0xa0, 0x80])), 1007],
  'text cut within a character': [text(Buffer.from([0xe2, 0x82])), 1007],
  'text that goes wrong before it ends': [frame(0x01, Buffer.from([0xc0])), 1007],
  'reason that is not UTF-8': [close(1000, Buffer.from([0xff])), 1007],
  '4097 bytes': [text('x'.repeat(4097)), 1009],
  '4097 bytes, binary': [frame(0x82, Buffer.alloc(4097)), 1009],
  '4097 bytes in two': [frame(0x01, 'x'.repeat(4000)), frame(0x80, 'x'.repeat(97)), 1009],
  '65536 bytes': [text('x'.repeat(65536)), 1009],
  'a header that promises 2^31 bytes': [frame(0x82, '', { form: 8, length: 2n ** 31n }), 1009],
  'a header that promises 2^63 - 1 bytes': [frame(0x82, '', { form: 8, length: 2n ** 63n - 1n }), 1009]
}

for (const code of [0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1999, 2000, 2999, 5000, 65535]) {
  refused[`close code ${code}`] = [close(code), 1002]
}

test('what breaks the rules is closed with a code, and nobody else notices', async t => {
  const d = await daemon(t, HOUR)
  const bystander = await client(t, d.ws)
  await bystander.received(1)
  for (const [name, [...frames]] of Object.entries(refused)) {
    const code = frames.pop()
    await t.test(name, async t => {
      const c = await open(t, { port: d.port })
      await c.frame(0)
      c.send(...frames)
      const { first, masked, data } = await c.frame(1)
      assert.equal(first, 0x80 | CLOSE)
      assert.equal(masked, false)
      assert.equal(data.readUInt16BE(0), code)
      await c.end()
      assert.equal(c.frames.length, 2)
    })
  }
  assert.equal(bystander.socket.readyState, bystander.socket.OPEN)
  assert.equal(bystander.snapshots.length, 1)
})

test('a close is echoed with its code', async t => {
  const d = await daemon(t, HOUR)
  for (const code of [undefined, 1000, 1001, 1002, 1003, 1007, 1011, 1014, 3000, 3999, 4000, 4999]) {
    const c = await open(t, { port: d.port })
    await c.frame(0)
    c.send(close(code, code ? 'enough' : ''), text('nobody reads this'), ping(''))
    const { first, data } = await c.frame(1)
    assert.equal(first, 0x80 | CLOSE)
    assert.equal(data.length < 2 ? undefined : data.readUInt16BE(0), code)
    await c.end()
    assert.equal(c.frames.length, 2)
  }
})

test('close in a fragmented message', async t => {
  const d = await daemon(t, HOUR)
  const c = await open(t, { port: d.port })
  await c.frame(0)
  c.send(frame(TEXT, 'a'), close(1001), frame(0x80, 'b'))
  assert.equal(closeCode(await c.frame(1)), 1001)
})

test('a client that does not close its end is cut off after 2 s', async t => {
  const d = await daemon(t, [...HOUR, '-v'], { expect: [/^open peer=/, /^clos/] })
  const c = await open(t, { port: d.port, lingers: true })
  const start = performance.now()
  c.send(close(1000))
  await c.end()
  await d.line(/^closed peer=\S+ reason="closed"/)
  assert.ok(performance.now() - start > 1500)
})

test('pings are answered in order, with their payload', async t => {
  const d = await daemon(t, HOUR)
  const c = await open(t, { port: d.port })
  await c.frame(0)
  const payloads = ['', 'a', 'x'.repeat(125), '\xff', ...Array.from({ length: 20 }, (_, i) => `${i}`)]
  c.send(...payloads.map(ping))
  await c.frame(payloads.length)
  assert.deepEqual(c.frames.slice(1).map(f => f.first), payloads.map(() => 0x80 | PONG))
  assert.deepEqual(c.frames.slice(1).map(f => f.data.toString()), payloads)
})

test('a ping that comes in single bytes', async t => {
  const d = await daemon(t, HOUR)
  const c = await open(t, { port: d.port })
  await c.frame(0)
  for (const byte of ping('slow')) {
    await new Promise(resolve => c.socket.write(Buffer.from([byte]), resolve))
  }
  assert.equal((await c.frame(1)).data.toString(), 'slow')
})

test('a pong nobody asked for is no ready and has no answer', async t => {
  const d = await daemon(t, ['--interval', '10'])
  const c = await open(t, { port: d.port })
  await c.frame(0)
  c.send(pong('unasked'), ping('asked'))
  assert.equal((await c.frame(1)).data.toString(), 'asked')
  const other = await client(t, d.ws)
  await other.received(1)
  await other.next()
  c.send(ping('again'))
  assert.equal((await c.frame(2)).data.toString(), 'again')
})

// Opens a client that is being sent a big snapshot and does not read it.
async function stuck (t, settings) {
  const d = await feedDaemon(t, HOUR)
  await node(t, d, () => encodeState(BIG))
  const c = await connect(t, { port: d.port, ...settings })
  c.socket.pause()
  c.send(handshake())
  const other = await client(t, d.ws)
  await other.received(1)
  return c
}

test('while a snapshot is being written the newest ping waits for its pong', async t => {
  const c = await stuck(t)
  c.send(ping('older'), ping('newer'), pong('unasked'), frame(0x80 | PING, '', { length: 9 }), 'half')
  c.socket.resume()
  const { data } = await c.frame(0)
  assert.equal(ServerMessage.decode(data).state.topics[0].name.length, BIG)
  const answer = await c.frame(1)
  assert.equal(answer.opcode, PONG)
  assert.equal(answer.data.toString(), 'newer')
})

test('while a snapshot is being written a close waits for its end', async t => {
  const c = await stuck(t)
  c.send(close(4321))
  c.socket.resume()
  assert.equal((await c.frame(0)).opcode, BINARY)
  assert.equal(closeCode(await c.frame(1)), 4321)
  await c.end()
})

test('a client that sends no more still gets the rest of its snapshot', async t => {
  const c = await stuck(t, { lingers: true })
  c.socket.end()
  c.socket.resume()
  const { data } = await c.frame(0)
  assert.equal(ServerMessage.decode(data).state.topics[0].name.length, BIG)
  await c.end()
  assert.equal(c.error, undefined)
})

test('a client that goes away without a close', async t => {
  const d = await daemon(t, [...HOUR, '-v'], { expect: [/^open peer=/, /^closed peer=/] })
  const gone = await open(t, { port: d.port })
  await gone.frame(0)
  gone.socket.end()
  await d.line(/^closed peer=\S+ reason="closed by the client" snapshots=1$/)
  const reset = await open(t, { port: d.port })
  await reset.frame(0)
  reset.socket.resetAndDestroy()
  await d.line(/^closed peer=\S+ reason="Connection reset by peer" snapshots=1$/)
})
