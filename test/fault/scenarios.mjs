// What the programs do while their calls fail: as many of their call sites as a second
// can meet. A scenario's options are those of the daemon, live(t, d) is what happens to
// it, ask what a client needs to get in.
import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import http from 'node:http'
import https from 'node:https'
import { connect as connectSocket, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { commandClient, delimited, eventOf } from '../integration/command-client.mjs'
import { client, folder } from '../integration/daemon.mjs'
import { BINARY, close, connect, frame, handshake, open, ping, request, text } from '../integration/raw.mjs'
import { recording, uint32 } from '../integration/recording.mjs'

const SOON = 10000   // ms, however busy the machine
const TOKEN = 'correct-horse.battery_staple'
const STATE = { instantTs: 1, subsystems: { connections: [{ peerId: 'x'.repeat(200) }] } }
const RUNTIME = {
  implementation: 'scenario',
  eventTypes: [{ name: 'Test', propertyTypes: [{ name: 'n', type: 'NUMBER' }] }]
}

// Files for all runs: a certificate that is its own authority, a recording.
export function prepare () {
  const path = mkdtempSync(join(tmpdir(), 'introspectd-'))
  const files = Object.fromEntries(['cert', 'key', 'token', 'recording', 'suppressions'].map(name => [name, join(path, name)]))
  execFileSync('openssl', ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes',
    '-days', '30', '-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost,IP:127.0.0.1',
    '-keyout', files.key, '-out', files.cert], { stdio: 'pipe' })
  writeFileSync(files.token, `${TOKEN}\n`, { mode: 0o600 })
  writeFileSync(files.recording, damaged())
  writeFileSync(files.suppressions, 'leak:mbedtls_ssl_tls13_populate_transform\n')
  files.ca = readFileSync(files.cert)
  files.remove = () => rmSync(path, { recursive: true, force: true })
  return files
}

// With a wrong checksum and a length that makes no sense in it.
function damaged () {
  const part = (from, to) => Array.from({ length: to - from }, (_, i) =>
    [{ state: { ...STATE, instantTs: 1000 + 20 * (from + i) } }, eventOf(i)]).flat()
  const rest = recording({ runtime: { ...RUNTIME, implementation: 'another' } }, ...part(4, 20))
  return Buffer.concat([recording({ runtime: RUNTIME }, ...part(1, 4)), uint32(1, 5), Buffer.from('wrong'),
    uint32(1, 0xffffffff), rest.subarray(4)])
}

// A pull client that stays for a few snapshots.
async function pull (t, d, n = 3) {
  const c = await client(t, d.ws, d.ask)
  await c.received(1, SOON)
  c.socket.ping()
  for (let i = 1; i < n; i++) await c.next(SOON)
  c.socket.close()
  await c.closed
}

// One that asks for differences, and at last for totals.
async function wish (t, d, n = 4) {
  const c = await client(t, d.ws, d.ask)
  let last = await c.received(1, SOON)
  for (let i = 2; i <= n; i++) {
    c.ready(Buffer.from([8, Number(last.state.sequence)]))
    last = await c.received(i, SOON)
  }
  c.ready(Buffer.from([16, 1]))
  await c.received(n + 1, SOON)
  c.socket.close()
  await c.closed
}

// The page and the rest of HTTP, one request of each.
function get (d, path, method = 'GET') {
  return new Promise((resolve, reject) => {
    const body = r => { r.resume(); r.on('end', () => resolve(r.statusCode)) }
    const { request } = d.ask.ca ? https : http
    request(new URL(path, d.url), { ...d.ask, method, agent: false }, body).on('error', reject).end()
  })
}

async function pages (d) {
  for (const path of ['/', '/healthz', '/metrics', '/past', '/introspection.proto', '/nothing']) await get(d, path)
  await get(d, '/', 'POST')
}

// Clients that make mistakes, each with what it sends first and then.
async function rude (t, target) {
  const rows = [['GET / HTTP/1.1\r\n\r\n'], ['x'.repeat(9000)], [handshake({ Host: 'example.org' })],
    [handshake(), frame(0x80 | BINARY, 'x', { masked: false })], [handshake(), ping('x'), close(1000)],
    [handshake({}, '/introspect'), ping('x'), close(1000)]]
  for (const [head, ...frames] of rows) {
    const c = await connect(t, target)
    c.send(head)
    await c.answered()
    if (frames.length > 0) c.send(...frames)
    await c.end(SOON)
  }
  const half = await connect(t, target)
  half.send('GET / ')
  half.socket.resetAndDestroy()
}

// A client of the command protocol that does what there is to do.
async function command (t, d) {
  const c = await commandClient(t, d.ws, d.ask)
  await c.ok('HELLO', { config: { stateSnapshotIntervalMs: 500, retentionPeriodMs: 1000 } })
  c.send('REQUEST', { source: 'RUNTIME' })
  await c.count('runtimes', 1, SOON)
  await c.ok('PUSH_ENABLE', { source: 'EVENTS' })
  await c.ok('PUSH_ENABLE', { source: 'STATE' })
  c.send('REQUEST', { source: 'STATE' })
  await c.count('states', 1, SOON)
  await c.ok('PUSH_PAUSE')
  await delay(20)
  await c.ok('PUSH_RESUME')
  c.socket.ping()
  c.socket.close()
  await c.closed
}

// What a node says, asked or not.
export const states = () => Buffer.concat([delimited(eventOf(1)), delimited({ state: STATE })])

// A node that comes back when the daemon ends the connection, until the scenario is over.
function feeding (t, path) {
  let over = false
  let socket
  const dial = () => {
    socket = connectSocket(path)
    socket.on('connect', () => socket.write(delimited({ runtime: RUNTIME })))
    socket.on('data', bytes => { for (const _ of bytes) socket.write(states()) })
    socket.on('error', () => {})
    socket.on('close', () => { if (!over) setTimeout(dial, 20) })
  }
  dial()
  const stop = () => { over = true; socket.destroy() }
  t.after(stop)
  return { stop, again: () => socket.destroy() }
}

// A process with connections of its own, which has this name; ends before the next begins.
function named (t, name) {
  const script = 'const s = net.createServer().listen(0, () => net.connect(s.address().port))'
  const child = spawn(process.execPath, ['-e', script], { argv0: name, stdio: 'ignore' })
  t.after(() => child.kill('SIGKILL'))
  return child
}

// A connection of this process that is not one with the daemon.
async function conversation (t) {
  const server = createServer(socket => socket.end('hello')).listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.after(() => server.close())
  const socket = connectSocket(server.address().port, '127.0.0.1').resume()
  await once(socket, 'close')
}

// Runs them side by side. Whatever goes wrong in one, the others go on.
async function all (...parts) {
  const results = await Promise.allSettled(parts)
  const failed = results.find(r => r.status === 'rejected')
  if (failed) throw failed.reason
}

export const scenarios = [
  {
    name: 'kernel',
    options: (t, d) => {
      d.unix = join(folder(t), 'socket')
      return ['--listen', '127.0.0.1:0', '--listen', d.unix, '--interval', '10', '-v']
    },
    async live (t, d) {
      d.child.kill('SIGUSR1')
      await all(pull(t, d), pages(d), rude(t, { port: d.port }), conversation(t), command(t, d))
      const c = await connect(t, { path: d.unix })
      c.send(request('GET /healthz HTTP/1.1'))
      await c.end(SOON)
    }
  },
  {
    name: 'process',
    options: (t, d) => {
      d.node = `fault-${process.pid}-${d.number}`
      return ['--listen', '[::1]:0', '--interval', '10', '--pid', d.node]
    },
    async live (t, d) {
      const first = named(t, d.node)
      const c = await client(t, d.ws, d.ask)
      await c.received(1, SOON)
      const until = async text => {
        while (!d.lines.some(line => line.startsWith(text))) await Promise.all([c.next(SOON), delay(10)])
      }
      await until('watching')
      await c.next(SOON)
      first.kill('SIGKILL')
      await until('gone')
      c.socket.terminate()
    }
  },
  {
    name: 'pid',
    options: () => ['--listen', '127.0.0.1:0', '--interval', '10', '--pid', `${process.pid}`],
    live: (t, d) => all(conversation(t), pull(t, d))
  },
  {
    name: 'many',
    options: () => ['--listen', '127.0.0.1:0', '--interval', '10', '--max-clients', '100'],
    async live (t, d) {
      const crowd = await Promise.all(Array.from({ length: 80 }, () => open(t, { port: d.port })))
      await Promise.all(crowd.map(c => c.frame(0, SOON)))
      await pull(t, d, 30)
      for (const c of crowd) c.send(text('ready'))
      await Promise.all(crowd.map(c => c.frame(1, SOON)))
    }
  },
  {
    name: 'feed',
    options: (t, d) => {
      d.feed = join(folder(t), 'feed')
      return ['--listen', '127.0.0.1:0', '--interval', '10', '--feed', d.feed, '-v', '--tls-cert', d.files.cert,
        '--tls-key', d.files.key, '--tls-client-ca', d.files.cert, '--token-file', d.files.token,
        '--remember', '1h', '--remember-every', '0.05']
    },
    ask: ({ ca, key }) => ({ ca, cert: ca, key: readFileSync(key), headers: { Authorization: `Bearer ${TOKEN}` } }),
    begin: (t, d) => { d.fed = feeding(t, d.feed) },
    end: d => d.fed.stop(),
    async live (t, d) {
      const wrong = { ...d.ask, headers: { Authorization: 'Bearer wrong' } }
      d.child.kill('SIGHUP')
      await all(pull(t, d), wish(t, d), pages(d), command(t, d), client(t, d.ws, wrong).catch(() => {}),
        client(t, d.ws, { ca: d.ask.ca }).catch(() => {}), client(t, d.ws.replace('wss', 'ws')).catch(() => {}))
      d.fed.again()
      await pull(t, d)
    }
  },
  {
    name: 'replay',
    options: (t, d) => ['--listen', '127.0.0.1:0', '--interval', '10', '--replay', d.files.recording, '--loop'],
    live: (t, d) => all(pull(t, d, 12), command(t, d))
  }
]
