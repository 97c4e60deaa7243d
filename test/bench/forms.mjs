// Bytes and CPU of a snapshot whole, as a difference and as totals, side by side: the daemon's
// own CPU time, from a node's bytes to those of the last client, for a snapshot that CLIENTS clients get.
// SIZES: connections; CHANGING: percent of them that differ from one snapshot to the next. TLS=1:
// over TLS. Beside them Node's ws library, which sends as many bytes as the whole has, and does
// nothing else.
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { spawn } from 'node:child_process'
import { readdirSync, readFileSync, rmSync } from 'node:fs'
import { connect } from 'node:net'
import { join } from 'node:path'
import tls from 'node:tls'
import protobuf from 'protobufjs'
import { fullState } from '../dashboard/page.mjs'
import { daemon, folder, schema, until } from '../integration/daemon.mjs'
import { makePki } from '../integration/pki.mjs'

const numbers = (name, ...defaults) => process.env[name]?.split(' ').map(Number) ?? defaults
const SIZES = numbers('SIZES', 100, 1000, 10_000)
const CHANGING = numbers('CHANGING', 1, 5, 20, 100)
const CLIENTS = numbers('CLIENTS', 1, 32)
const BYTES = 60e6     // of whole snapshots in all that a measurement goes through, at least MIN of them
const MIN = 20, MAX = 300, WARM = 3
const INTERVAL = 10    // ms; the shortest
const pki = process.env.TLS === '1' && makePki()
if (pki) process.once('exit', () => rmSync(pki.path, { recursive: true }))

const type = name => schema.lookupType(`introspection.${name}`)
const { root } = protobuf.parse(`syntax = "proto3"; message ServerMessage { State state = 2; }
  message State { uint64 sequence = 101; uint64 base = 106; }`)
const Outline = root.lookupType('ServerMessage')

const delimited = (number, ...parts) => {
  const head = protobuf.Writer.create()
  if (number) head.uint32(number << 3 | 2)
  return [head.uint32(parts.reduce((n, part) => n + part.length, 0)).finish(), ...parts]
}

// A node: each of its States differs from the one before in the next few connections.
function states (count, percent) {
  const { state } = fullState(0, count)
  const { connections, dht } = state.subsystems
  const encoded = connections.map((c, i) => [1e6, 2e6].map(bytes => Buffer.concat(delimited(1, type('Connection').encode(
    type('Connection').fromObject({ ...c, traffic: { trafficIn: { cumBytes: bytes + i, instBw: 1 } } })).finish()))))
  const rest = type('State').encode(type('State').fromObject({
    ...state, subsystems: undefined, runtime: undefined, sequence: undefined
  })).finish()
  const parts = encoded.map(([first]) => first)
  const changes = Math.max(1, Math.round(count * percent / 100))
  parts.push(...delimited(2, type('DHT').encode(type('DHT').fromObject(dht)).finish()))
  let at = 0
  return () => {
    for (let n = 0; n < changes; n++, at++) {
      const i = at % count
      parts[i] = encoded[i][parts[i] === encoded[i][0] ? 1 : 0]
    }
    return Buffer.concat(delimited(0, ...delimited(2, ...delimited(1, ...parts), rest)))
  }
}

const READY = { whole: () => [], difference: have => [8, have & 127 | 128, have >> 7], totals: () => [16, 1] }

// A pull client that looks at no more of a message than it must.
async function puller (port, closing) {
  const socket = pki ? tls.connect({ port, host: '127.0.0.1', ca: pki.ca, servername: 'localhost' }) : connect(port, '127.0.0.1')
  const c = { socket, messages: 0, bytes: 0 }
  let chunks = [], have = 0, head
  socket.on('data', chunk => {
    chunks.push(chunk)
    have += chunk.length
    if (!head && (chunk = Buffer.concat(chunks)).includes('\r\n\r\n')) {
      head = true
      chunks = [chunk.subarray(chunk.indexOf('\r\n\r\n') + 4)]
      have = chunks[0].length
    }
    while (head && have >= 2) {
      if (chunks[0].length < 10 && chunks.length > 1) chunks = [Buffer.concat(chunks)]
      const short = chunks[0][1], at = { 126: 4, 127: 10 }[short] ?? 2
      if (have < at) break
      const len = at === 2 ? short : at === 4 ? chunks[0].readUInt16BE(2) : chunks[0].readUInt32BE(6)
      if (have < at + len) break
      const all = Buffer.concat(chunks)
      c.last = all.subarray(at, at + len)
      chunks = [all.subarray(at + len)]
      have -= at + len
      c.messages++
      c.bytes += at + len
      socket.emit('message')
    }
  })
  c.ready = payload => socket.write(Buffer.from([0x82, 0x80 | payload.length, 0, 0, 0, 0, ...payload]))
  c.received = n => until(socket, 'message', () => c.messages >= n, 60000)
  socket.write('GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n' +
    'Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n')
  closing.push(() => socket.destroy())
  return c
}

// In microseconds, of all threads.
const cpu = pid => readdirSync(`/proc/${pid}/task`).reduce((us, task) =>
  us + Number(readFileSync(`/proc/${pid}/task/${task}/schedstat`, 'utf8').split(' ')[0]) / 1000, 0)

// The daemon with a node that publishes what next() returns.
async function fed (t, next, clients) {
  const path = join(folder(t), 'feed')
  const secure = pki ? ['--tls-cert', pki.file('server.pem'), '--tls-key', pki.file('server.key')] : []
  const d = await daemon(t, ['--feed', path, '--interval', `${INTERVAL}`, '--max-clients', `${clients}`, ...secure], { expect: [/^feed_/] })
  const node = connect(path)
  node.on('data', () => node.write(next()))
  node.on('error', () => {})
  await once(node, 'connect')
  t.after(() => node.destroy())
  return d
}

async function ws (t, bytes) {
  const child = spawn(process.execPath, [new URL('ws.mjs', import.meta.url).pathname, `${bytes}`,
    ...pki ? [pki.file('server.pem'), pki.file('server.key')] : []], { stdio: ['ignore', 'pipe', 'inherit'] })
  t.after(() => child.kill())
  const [line] = await once(child.stdout, 'data')
  return { pid: child.pid, port: Number(/:(\d+)\//.exec(line)[1]) }
}

// { bytes: of one answer, us: CPU of one snapshot } of clients that all wish the same. bytes: of
// a message of the ws library, which is measured then.
async function measure (next, clients, form, bytes) {
  const closing = []
  const t = { after: f => closing.unshift(f) }
  const d = bytes ? await ws(t, bytes) : await fed(t, next, clients)
  const all = []
  for (let i = 0; i < clients; i++) all.push(await puller(d.port, closing))
  await Promise.all(all.map(c => c.received(1)))
  let base = bytes ? 0 : Number(Outline.decode(all[0].last).state.sequence)
  // Who came later may have got a later one: one round of whole snapshots makes all equal.
  const round = async form => {
    const n = all.map(c => c.messages)
    for (const c of all) c.ready(READY[form](base))
    await Promise.all(all.map((c, i) => c.received(n[i] + 1)))
    if (bytes) return
    const { sequence, base: to } = Outline.decode(all[0].last).state
    if (form === 'difference' && Number(to)) assert.equal(Number(to), base)
    base = Number(sequence)
  }
  const rounds = Math.min(MAX, Math.max(MIN, Math.round(BYTES / all[0].last.length / clients)))
  await round('whole')
  for (let i = 0; i < WARM; i++) await round(form)
  const before = cpu(d.pid), came = all[0].bytes
  for (let i = 0; i < rounds; i++) await round(form)
  const result = { us: (cpu(d.pid) - before) / rounds, bytes: (all[0].bytes - came) / rounds }
  for (const f of closing) await f()
  return result
}

const right = (value, width) => `${value}`.padStart(width)
console.log(`${pki ? 'over TLS: ' : ''}bytes of a message, and CPU of a snapshot for all clients in µs
connections  changing  clients |    whole  difference  totals |    whole  difference  totals       ws | difference of whole`)
for (const size of SIZES) {
  for (const percent of CHANGING) {
    const next = states(size, percent)
    for (const clients of CLIENTS) {
      const [w, d, t] = [await measure(next, clients, 'whole'), await measure(next, clients, 'difference'), await measure(next, clients, 'totals')]
      const other = await measure(next, clients, 'whole', Math.round(w.bytes))
      console.log(right(size, 11), right(`${percent} %`, 9), right(clients, 8), '|', right(Math.round(w.bytes), 8),
        right(Math.round(d.bytes), 11), right(Math.round(t.bytes), 7), '|', ...[w, d, t, other].map((f, i) => right(Math.round(f.us), [8, 11, 7, 8][i])),
        '|', `${(100 * d.bytes / w.bytes).toFixed(1)} % of bytes, ${(d.us / w.us).toFixed(2)} of CPU`)
    }
  }
}
