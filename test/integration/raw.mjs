// A client that sends what it is told, right or wrong, byte for byte, and takes
// apart what comes back.
import assert from 'node:assert/strict'
import { EventEmitter, once } from 'node:events'
import { connect as connectSocket } from 'node:net'
import { daemon, undisturbed, until } from './daemon.mjs'

export const TEXT = 1
export const BINARY = 2
export const CLOSE = 8
export const PING = 9
export const PONG = 10

// The key and its answer that RFC 6455 gives as an example.
export const key = 'dGhlIHNhbXBsZSBub25jZQ=='
export const accept = 's3pPLMBiTxaQ9kYGzzhZRbK+xOo='

// A request head. fields: name: value; undefined leaves one out.
export function request (line, fields = {}) {
  const lines = Object.entries({ Host: 'localhost', ...fields })
    .filter(([, value]) => value !== undefined)
    .map(([name, value]) => `${name}: ${value}\r\n`)
  return `${line}\r\n${lines.join('')}\r\n`
}

export function handshake (fields = {}, path = '/') {
  return request(`GET ${path} HTTP/1.1`, {
    Upgrade: 'websocket',
    Connection: 'Upgrade',
    'Sec-WebSocket-Key': key,
    'Sec-WebSocket-Version': '13',
    ...fields
  })
}

// A masked frame. first: the opcode with its FIN and RSV bits as they shall
// stand; length: what the header says instead of the truth, in form bytes.
export function frame (first, payload = '', { masked = true, length, form } = {}) {
  const data = Buffer.from(payload)
  const mask = Buffer.from([0x37, 0xfa, 0x21, 0x3d])
  const n = BigInt(length ?? data.length)
  const bytes = form ?? (n < 126n ? 1 : n < 65536n ? 2 : 8)
  const header = Buffer.alloc(bytes === 1 ? 2 : 2 + bytes)
  header[0] = first
  header[1] = (bytes === 1 ? Number(n) : bytes === 2 ? 126 : 127) | (masked ? 0x80 : 0)
  if (bytes === 2) header.writeUInt16BE(Number(n), 2)
  if (bytes === 8) header.writeBigUInt64BE(n, 2)
  if (!masked) return Buffer.concat([header, data])
  return Buffer.concat([header, mask, data.map((byte, i) => byte ^ mask[i % 4])])
}

export const text = payload => frame(0x80 | TEXT, payload)
export const ping = payload => frame(0x80 | PING, payload)
export const pong = payload => frame(0x80 | PONG, payload)
export function close (code, reason = '') {
  const payload = code === undefined ? Buffer.alloc(0) : Buffer.from([code >> 8, code & 255])
  return frame(0x80 | CLOSE, Buffer.concat([payload, Buffer.from(reason)]))
}

// Takes the first complete frame off the chunks, or returns nothing.
function takeFrame (r) {
  if (r.length < 2) return
  const start = r.peek(Math.min(10, r.length))
  const form = start[1] & 0x7f
  const header = form < 126 ? 2 : form === 126 ? 4 : 10
  if (r.length < header) return
  const length = form < 126 ? form
    : form === 126 ? start.readUInt16BE(2) : Number(start.readBigUInt64BE(2))
  if (r.length < header + length) return
  const data = r.take(header + length).subarray(header)
  return { first: start[0], opcode: start[0] & 0x0f, masked: start[1] > 127, header, data }
}

function chunks () {
  let list = []
  const r = {
    length: 0,
    add (chunk) { list.push(chunk); r.length += chunk.length },
    peek (n) {
      if (list[0].length < n) list = [Buffer.concat(list)]
      return list[0].subarray(0, n)
    },
    take (n) {
      const all = Buffer.concat(list)
      list = n < all.length ? [all.subarray(n)] : []
      r.length -= n
      return all.subarray(0, n)
    }
  }
  return r
}

// target: what net.connect takes; lingers: does not end the connection when the
// daemon does. The result: head and status once the head of
// an answer has come, body: what stands behind the head of one that is not 101,
// frames: those that came since; ended: the daemon has said that it sends no
// more, or was cut off.
export async function connect (t, { lingers = false, ...target }) {
  // By address: looked up by name, connections would be made in any order.
  const socket = connectSocket({ allowHalfOpen: true, noDelay: true, host: '127.0.0.1', ...target })
  const rest = chunks()
  const news = new EventEmitter()
  const c = { socket, head: '', status: 0, body: '', frames: [], ended: false }
  socket.on('data', chunk => {
    rest.add(chunk)
    if (!c.status) {
      const end = rest.peek(rest.length).indexOf('\r\n\r\n')
      if (end < 0) return
      c.head = rest.take(end + 4).toString('latin1')
      c.status = Number(c.head.split(' ')[1])
    }
    if (c.status !== 101) c.body += rest.take(rest.length).toString()
    for (let next; c.status === 101 && (next = takeFrame(rest));) c.frames.push(next)
    news.emit('got')
  })
  socket.on('error', error => { c.error = error })
  const over = () => { c.ended = true; news.emit('got') }
  socket.on('end', over)
  if (!lingers) socket.on('end', () => socket.end())
  socket.on('close', over)
  c.send = (...parts) => socket.write(Buffer.concat(parts.map(part => Buffer.from(part))))
  c.until = (value, ms) => until(news, 'got', value, ms)
  c.answered = () => c.until(() => c.status)
  c.frame = async n => {
    await c.until(() => c.frames[n] || c.ended)
    return c.frames[n] ?? assert.fail(`the connection ended before frame ${n}`)
  }
  c.end = ms => c.until(() => c.ended, ms)
  c.field = name => c.head.match(new RegExp(`^${name}: (.*)\r$`, 'mi'))?.[1]
  t.after(() => socket.destroy())
  await once(socket, 'connect')
  return c
}

// A connection with its handshake done.
export async function open (t, target, fields) {
  const c = await connect(t, target)
  c.send(handshake(fields))
  await c.answered()
  if (c.status !== 101) throw new Error(c.head)
  return c
}

// Does the daemon that begin() starts end before another one that waits its 2 s for a client who does
// not answer? first: what is to happen to it after the other one was told to stop. Returns it.
export function stopsAtOnce (t, begin, { signal = 'SIGTERM', first = async () => {} } = {}) {
  return undisturbed(async () => {
    const d = await begin()
    const other = await daemon(t, ['--interval', '3600000'])
    const c = await open(t, { port: other.port, lingers: true })
    await c.frame(0)
    const ended = []
    const stop = async (d, signal) => {
      assert.equal((await d.stop(signal)).code, 0)
      ended.push(d)
    }
    const waits = stop(other, 'SIGTERM')
    await first(d)
    await Promise.all([waits, stop(d, signal)])
    return ended[0] === d ? d : undefined
  })
}
