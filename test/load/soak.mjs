// Mixed load for SOAK_SECONDS on three daemons, one for each source: well-behaved
// clients, which must be served all the time, and all kinds of others. Usage: node
// soak.mjs [valgrind]. BUILD says which build, which for valgrind is one without
// sanitizers. Everything is paced, so that it also runs beside other work.
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { copyFileSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import http from 'node:http'
import https from 'node:https'
import net from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import WebSocket from 'ws'
import { commandClient, delimited, eventOf } from '../integration/command-client.mjs'
import { daemon, memory, schema, ServerMessage } from '../integration/daemon.mjs'
import { frame, handshake, ping, request, text } from '../integration/raw.mjs'
import { clientHello, makePki } from '../integration/pki.mjs'
import { recording } from '../integration/recording.mjs'
import { flood, many } from './flood.mjs'

const VALGRIND = process.argv[2] === 'valgrind'
const SECONDS = Number(process.env.SOAK_SECONDS ?? 300)
const SLOWER = VALGRIND ? 4 : 1   // a program under valgrind gets so much less to do
const WAIT_MAX = 60000            // ms for a snapshot; the machine may have more to do
const GROWTH_MAX = VALGRIND ? 8192 : 4096   // KiB
const GROWTH_SECONDS = 240        // in less, not everything has been used early
const CROWD = 80                  // pull clients that get ready now and then
const TOKEN = 'correct-horse.battery_staple~1'

const totals = { connections: 0, messages: 0, snapshots: 0, differences: 0, events: 0, bytes: 0, answers: 0, refusals: 0, reloads: 0 }
const members = []
const floods = []
const began = performance.now()
let failure, over = false

const Ready = schema.lookupType('introspection.Ready')
const ready = fields => Buffer.from(Ready.encode(Ready.fromObject(fields)).finish())

const log = line => console.log(`${VALGRIND ? 'valgrind' : 'sanitizers'} ${line}`)
function fail (error) {
  failure ??= error
  over = true
  log(`FAILED: ${error.stack ?? error}`)
}
const below = n => Math.floor(Math.random() * n)
const pick = list => list[below(list.length)]

// What is begun in body ends with it.
async function scope (body) {
  const ends = []
  const failed = []
  await body({ after: end => ends.push(end) }).catch(error => failed.push(error))
  for (const end of ends.reverse()) await Promise.resolve().then(end).catch(error => failed.push(error))
  if (failed.length > 0) throw failed[0]
}

// Waits, but not beyond the end.
async function pause (ms) {
  for (const until = performance.now() + ms; !over && performance.now() < until;) {
    await delay(Math.min(250, Math.max(1, until - performance.now())))
  }
}

// Does it again and again, each time in a scope of its own.
async function repeated (name, ms, body) {
  while (!over) {
    try {
      await scope(body)
    } catch (error) {
      // Of those who come and go, a full table or a slow machine turns some away.
      if (!/\b503\b|ECONNRESET|EPIPE|socket hang up|disconnected before|^closed$/.test(error.message)) {
        error.message = `${name}: ${error.message}`
        fail(error)
      }
      totals.refusals++
    }
    await pause(ms * SLOWER * (0.5 + Math.random()))
  }
}

// What a build with DEFLATE=1 takes up, and any other declines.
const compression = { threshold: 0 }

// A client that is always ready, from before all others come until after they have gone. wishes: it
// asks for differences and totals in turn with whole snapshots, compressed.
async function watch (member, url, { wishes, ...options } = {}) {
  const socket = new WebSocket(url, { perMessageDeflate: wishes ? compression : false, ...options })
  const w = { member, asked: performance.now(), waits: [], last: 0 }
  socket.on('message', data => {
    const { sequence, base, counts, subsystems } = ServerMessage.decode(data).state
    if (sequence <= w.last) fail(new Error(`${member.name}: snapshot ${sequence} after ${w.last}`))
    if (Number(base) && (!wishes || Number(base) !== w.have)) fail(new Error(`${member.name}: ${base} is not what it has`))
    if (counts && subsystems?.connections.length) fail(new Error(`${member.name}: totals with connections`))
    w.last = Number(sequence)
    w.have = counts ? 0 : w.last
    totals.differences += Number(base) > 0
    if (member.since) w.waits.push(performance.now() - Math.max(w.asked, member.since))
    w.asked = performance.now()
    totals.snapshots++
    totals.bytes += data.length
    totals.messages++
    socket.send(!wishes || below(8) === 0 ? 'r' : ready({ have: w.have, detail: below(8) === 0 ? 1 : 0 }))
  })
  w.closed = once(socket, 'close').then(([code]) => {
    if (!over) fail(new Error(`${member.name}: a well-behaved client was closed: ${code}`))
    return code
  })
  await once(socket, 'open')
  member.watchers.push(w)
  totals.connections++
}

// Was anybody kept waiting? What this process slept through itself does not count.
async function supervise () {
  for (let last = performance.now(); !over;) {
    await delay(1000)
    const now = performance.now(), late = now - last - 1000
    last = now
    for (const member of members) {
      for (const w of member.watchers) {
        w.asked += late > 1000 ? late : 0
        if (now - w.asked > member.patience) {
          fail(new Error(`${member.name}: no snapshot for ${Math.round(now - w.asked)} ms`))
        }
      }
      member.memory.push(memory(member.d))
    }
  }
}

const descriptors = d => readdirSync(`/proc/${d.pid}/fd`).length

// Without those that are open for a moment only.
async function atRest (d) {
  let least = Infinity
  for (let i = 0; i < 10; i++) {
    least = Math.min(least, descriptors(d))
    await delay(100)
  }
  return least
}

async function report () {
  for (let minute = 1; !over; minute++) {
    await pause(60000)
    const parts = members.map(m => {
      const waits = m.watchers.flatMap(w => w.waits)
      return `${m.name} memory=${m.memory.at(-1)}K fds=${descriptors(m.d)} longest_wait=${Math.round(Math.max(0, ...waits.slice(-500)))}ms`
    })
    log(`${minute} min: ${JSON.stringify(totals)} ${parts.join(', ')}`)
  }
}

const EXPECTED = [/^accept_paused /, /^refused /, /^slot number=/, /^wrong_token /, /^log_lost lines=/]
const FEED = [/^feed_(dis)?connected$/, /^feed_closed offset=/, /^feed_refused /, /^event_dropped /,
  /^snapshot_too_big /]

async function start (t, folder, name, options, expect = []) {
  const valgrind = ['valgrind', '-q', '--freelist-vol=1000000', '--track-fds=yes', '--leak-check=full', '--show-leak-kinds=all',
    '--errors-for-leak-kinds=all', '--error-exitcode=99', `--log-file=${join(folder, `${name}.log`)}`]
  const d = await daemon(t, ['--max-clients', '24', '--ping', '15', '--drain', '5', '--remember', '1h', '--remember-every', '1',
    '--remember-bytes', '1048576', ...options], {
    expect: [...EXPECTED, ...expect],
    prefix: VALGRIND ? valgrind : [],
    env: { ASAN_OPTIONS: 'quarantine_size_mb=4:detect_stack_use_after_return=1:strict_string_checks=1' }
  })
  const member = { name, d, watchers: [], memory: [], since: 0, patience: WAIT_MAX, log: join(folder, `${name}.log`) }
  members.push(member)
  return member
}

const state = size => ({
  state: {
    instantTs: Date.now(),
    traffic: { trafficIn: { cumBytes: below(1e9) } },
    subsystems: {
      connections: Array.from({ length: 1 + size / 100 }, (_, i) => ({ peerId: `peer ${i}`, id: Buffer.from(`c${i}`.padEnd(32)), latencyNs: below(2) }))
    }
  }
})
const runtime = () => ({
  runtime: {
    implementation: 'soak',
    version: `${below(100)}`,
    eventTypes: [{ name: 'Test', propertyTypes: [{ name: 'n', type: 1 }] }]
  }
})

// What a node may say at last, right and wrong.
const LAST_WORDS = [
  () => '',
  () => delimited(state(1000)).subarray(0, 500),
  () => randomBytes(200),
  () => Buffer.alloc(12, 0xff),
  () => Buffer.from([0x80, 0x80, 0x80, 0x80, 0x01]),
  () => { const bytes = Buffer.from(delimited(state(3000))); bytes[below(bytes.length)] ^= 1 << below(8); return bytes },
  () => delimited({ event: { type: { name: 'Test' }, content: 'not JSON' } }),
  () => delimited({ event: { type: { name: 'x'.repeat(5000) }, content: '{}' } }),
  () => delimited({ response: { id: 1 } })
]

// A libp2p node that comes and goes.
async function publish (t, member, path) {
  const socket = net.connect(path).on('error', () => {})
  const closed = once(socket, 'close')
  t.after(async () => { member.since = 0; socket.destroy(); await closed })
  await once(socket, 'connect')
  totals.connections++
  const own = below(3) === 0   // on its own clock, without being asked
  const say = message => { totals.messages++; return socket.write(delimited(message)) }
  say(runtime())
  socket.on('data', asked => {
    for (let i = 0; i < asked.length && !own; i++) say(state(below(30000 / SLOWER)))
  })
  member.since = performance.now()
  for (const until = performance.now() + 5000 + below(15000); !over && performance.now() < until;) {
    for (let n = below(5); n > 0; n--) {
      totals.events++
      say(eventOf(totals.events, { name: `Test${below(3)}`, padding: 'x'.repeat(below(300)) }))
    }
    if (own) say(state(below(3000)))
    if (below(20) === 0) net.connect(path).on('error', () => {}).end()   // refused: there is one
    await pause(300)
  }
  member.since = 0
  const last = pick(LAST_WORDS)()
  if (last.length > 0) socket.write(last)
  if (below(2)) socket.end()
  else await pause(100)
}

// A client of the command protocol that says this and that.
async function command (t, url, options) {
  const c = await commandClient(t, url, options)
  totals.connections++
  const hello = c.send('HELLO', { config: { stateSnapshotIntervalMs: 500 + below(1000) } })
  assert.equal((await c.answer(hello, WAIT_MAX)).result, 'OK')
  c.onMessage = () => { totals.answers++ }
  for (let n = 5 + below(30); !over && n > 0 && c.socket.readyState === WebSocket.OPEN; n--) {
    const source = pick(['STATE', 'EVENTS', 'RUNTIME'])
    c.send(pick(['REQUEST', 'PUSH_ENABLE', 'PUSH_ENABLE', 'PUSH_DISABLE', 'PUSH_PAUSE', 'PUSH_RESUME', 'PUSH_RESUME',
      'UPDATE_CONFIG', 'HELLO', 77]), { source, config: below(2) ? { retentionPeriodMs: 1 + below(20000) } : undefined })
    totals.messages++
    await pause(below(1000))
    for (const list of [c.received, c.states, c.events, c.notices, c.responses, c.runtimes]) list.length = 0
  }
  if (below(3) === 0) c.socket.send(randomBytes(40))
  else if (below(2)) c.socket.close(1000)
  await pause(200)
}

// A pull client with habits of its own.
async function pull (t, url, options) {
  const socket = new WebSocket(url, { perMessageDeflate: pick([compression, false]), ...options })
  t.after(async () => { socket.terminate(); if (socket.readyState !== WebSocket.CLOSED) await once(socket, 'close') })
  const failed = once(socket, 'close').then(() => { throw new Error('closed') })
  socket.on('error', () => {})
  await Promise.race([once(socket, 'open'), once(socket, 'error').then(([error]) => { throw error }), failed])
  failed.catch(() => {})
  totals.connections++
  socket.on('message', data => { totals.snapshots++; totals.bytes += data.length })
  const deaf = below(3) === 0
  if (deaf) socket.pause()
  for (let n = 3 + below(10); !over && n > 0; n--) {
    totals.messages++
    pick([() => socket.send('r'), () => socket.send(''), () => socket.send(ready({ have: below(1000), detail: below(3) })), () => socket.ping(randomBytes(below(126))),
      () => { for (let i = 0; i < 50; i++) socket.send('r') }, () => socket.send(randomBytes(4096)),
      () => { socket.send('one', { fin: false }); socket.ping(); socket.send('two') }])()
    await pause(below(2000))
  }
  pick([() => socket.close(1000, 'enough'), () => socket.terminate(), () => socket.send(randomBytes(4097)),
    () => socket.close()])()
  await pause(deaf ? 8000 : 200)
}

const PATHS = ['/', '/healthz', '/metrics', '/past', '/past?since=1', '/introspection.proto', '/app.js', '/nothing', `/${'x'.repeat(9000)}`]

// A request, of any kind; what comes must be a whole answer. Who is refused before its
// request was read, or understood, gets the text even if it asked for the head alone.
function fetchSomething (url, options) {
  return new Promise((resolve, reject) => {
    const client = url.startsWith('https') ? https : http
    const headers = pick([{}, {}, { Host: 'evil.example' }, { Origin: 'https://evil.example' }, { 'Accept-Encoding': 'gzip' },
      { Upgrade: 'websocket' }, { Authorization: `Bearer ${TOKEN}` }])
    const method = pick(['GET', 'GET', 'GET', 'HEAD', 'POST'])
    client.request(new URL(pick(PATHS), url), { agent: false, method, headers, ...options }, response => {
      totals.connections++
      totals.answers++
      if (response.statusCode === 503) totals.refusals++
      let length = 0
      response.on('data', data => { length += data.length; totals.bytes += data.length })
      response.on('end', resolve)
      response.on('error', reject)
      assert.ok([200, 400, 401, 403, 404, 405, 426, 429, 431, 503].includes(response.statusCode), `${response.statusCode}`)
    }).on('error', error => {
      if (method === 'HEAD' && error.code === 'HPE_CLOSED_CONNECTION') resolve()
      else reject(error)
    }).end()
  })
}

// Floods, paced, of a port without TLS.
function plainFloods (port) {
  const paced = bytes => ({ chunk: Math.ceil(bytes / SLOWER), ms: 100 })
  const rate = n => ({ rate: Math.ceil(n / SLOWER) })
  const drip = request('GET / HTTP/1.1', { 'X-Long': 'x'.repeat(7000) })
  const commandRequest = frame(0x82, Buffer.from([0x18, 1, 0x20, 1]))
  floods.push(
    flood(port, CROWD, { start: handshake(), repeat: text('r'), ms: 700 * SLOWER }),
    flood(port, 40, { start: drip, ms: 500, chunk: 1, ...rate(10) }),
    flood(port, 4, { start: handshake(), cut: true, ends: 'crhabk', ...rate(10), repeat: text('r'), ms: 200 }),
    flood(port, 2, { start: randomBytes(6000), ...rate(2), ms: 50 }),
    flood(port, 2, { start: handshake() + randomBytes(5000).toString('latin1'), ...rate(2), ms: 50 }),
    flood(port, 1, { start: handshake(), repeat: many(text('')), ...paced(4096), rate: 1 }),
    flood(port, 1, { start: handshake(), repeat: many(ping('are you there?')), ...paced(2000), rate: 1 }),
    flood(port, 1, { start: handshake({}, '/introspect'), repeat: many(commandRequest), ...paced(500), rate: 1 }),
    flood(port, 2, { start: handshake(), repeat: many(text('r')), deaf: true, ms: 200, chunk: 80, rate: 1 }),
    flood(port, 2, { start: request('GET /healthz HTTP/1.1'), ends: 'habk', ms: 20, ...rate(5) }))
}

// The same, of a port with it, where nobody gets past its handshake.
async function tlsFloods (port) {
  const hello = await clientHello()
  const warning = Buffer.from([21, 3, 3, 0, 2, 1, 90])   // user_canceled, which is ignored
  floods.push(
    flood(port, 10, { start: hello, ms: 100, chunk: 1, rate: 2 }),
    flood(port, 2, { start: hello, cut: true, ends: 'rchk', rate: 1, ms: 100 }),
    flood(port, 1, { start: hello, repeat: many(warning), chunk: 700, ms: 100, rate: 1 }),
    flood(port, 1, { start: randomBytes(3000), rate: 1 }),
    flood(port, 1, { start: request('GET / HTTP/1.1'), rate: 1 }))
}

// New certificates and tokens, and wrong ones that are not taken.
async function reload (member, files, pki) {
  for (let n = 0; !over; n++) {
    const name = n % 2 ? 'renewed' : 'server'
    copyFileSync(pki.file(`${name}.pem`), files.cert)
    copyFileSync(pki.file(`${n % 5 === 4 ? 'stranger' : name}.key`), files.key)
    writeFileSync(files.token, n % 7 === 6 ? 'short' : TOKEN, { mode: 0o600 })
    for (const { d } of members) d.child.kill(n % 3 === 2 ? 'SIGUSR1' : 'SIGHUP')
    totals.reloads++
    await pause(7000 * SLOWER)
  }
}

async function guardedMember (t, folder, pki) {
  const files = { cert: join(folder, 'cert'), key: join(folder, 'key'), token: join(folder, 'token') }
  copyFileSync(pki.file('server.pem'), files.cert)
  copyFileSync(pki.file('server.key'), files.key)
  writeFileSync(files.token, TOKEN, { mode: 0o600 })
  const feed = join(folder, 'feed'), socket = join(folder, 'socket')
  const member = await start(t, folder, 'feed', ['--feed', feed, '--listen', '127.0.0.1:0', '--listen', socket,
    '--tls-cert', files.cert, '--tls-key', files.key, '--token-file', files.token, '--interval', '500',
    '--max-snapshot', '300000', '--history', '131072'], [...FEED, /^error t(ls|oken_file)=/, /^listening path=/])
  member.patience = 2 * WAIT_MAX   // its node is not always there
  const headers = { Authorization: `Bearer ${TOKEN}` }
  const overTls = { ca: pki.ca, headers }
  const unix = `ws+unix:${socket}:/`
  await watch(member, member.d.ws, overTls)
  await watch(member, unix, { wishes: true, headers })
  return {
    member,
    load: async () => [
      repeated('node', 1500, t => publish(t, member, feed)),
      repeated('command over TLS', 3000, t => command(t, member.d.ws, overTls)),
      repeated('pull over TLS', 3000, t => pull(t, member.d.ws, overTls)),
      repeated('pull on a Unix socket', 2000, t => pull(t, unix, { headers })),
      repeated('wrong token', 3000, async () => {
        await assert.rejects(scope(t => pull(t, unix, { headers: { Authorization: 'Bearer nobody-has-this' } })), /401|429|503|ECONNRESET|hang up|closed/)
        totals.refusals++
      }),
      repeated('request over TLS', 3000, () => fetchSomething(member.d.url, { ca: pki.ca, servername: 'localhost' })),
      reload(member, files, pki),
      tlsFloods(member.d.port)
    ]
  }
}

async function plainMember (t, folder, name, options, expect) {
  const member = await start(t, folder, name, ['--interval', '500', '--max-clients', `${24 + CROWD}`, ...options], expect)
  member.since = performance.now()
  await watch(member, member.d.ws)
  await watch(member, member.d.ws, { wishes: true })
  return {
    member,
    load: async () => [
      repeated('command', 1000, t => command(t, member.d.ws)),
      repeated('pull', 700, t => pull(t, member.d.ws)),
      repeated('request', 500, () => fetchSomething(member.d.url)),
      plainFloods(member.d.port)
    ]
  }
}

// A recording of a minute, with events.
function recordMinute (path) {
  const messages = []
  for (let n = 0; n < 120; n++) {
    for (const message of [state(5000), eventOf(n)]) {
      if (message.state) message.state.instantTs = 1700000000000 + n * 500
      else message.event.ts = 1700000000000 + n * 500
      messages.push(message)
    }
  }
  writeFileSync(path, recording(...messages))
  return path
}

// What valgrind wrote: nothing, but for the descriptors that are meant to be open, and for calls that it
// does not know.
function checkLog (member) {
  const lines = readFileSync(member.log, 'utf8').split('\n').map(line => line.replace(/^==\d+== ?/, ''))
    .filter(line => !/^--\d+-- WARNING: unhandled eBPF command 24$/.test(line))   // BPF_MAP_LOOKUP_BATCH
  const text = lines.join('\n')
  const known = /^(FILE DESCRIPTORS: .*|Open (file descriptor|AF_INET|AF_UNIX) .*\n *(<inherited from parent>|at .*signalfd.*\n( +by .*\n)*)|\s*)$/gm
  const rest = text.replace(known, '').trim()
  if (rest) fail(new Error(`${member.name}: valgrind:\n${rest.slice(0, 10000)}`))
}

// The least of the second sixth, when all has been used once, and of the last.
function growth (samples) {
  const sixth = Math.max(1, Math.floor(samples.length / 6))
  const least = (from, to) => Math.min(...samples.slice(from, to))
  return { early: least(sixth, 2 * sixth), late: least(samples.length - sixth) }
}

// All that came has gone again.
async function settle (member, before) {
  const until = performance.now() + 30000
  let now
  do now = await atRest(member.d)
  while (now !== before && performance.now() < until)
  if (now !== before) fail(new Error(`${member.name}: ${now} descriptors, ${before} before`))
}

function summarize () {
  log(`${Math.round((performance.now() - began) / 1000)} s: ${JSON.stringify(totals)}`)
  for (const { name, watchers, memory } of members) {
    const waits = watchers.flatMap(w => w.waits).sort((a, b) => a - b)
    const at = part => Math.round(waits[Math.floor((waits.length - 1) * part)])
    const { early, late } = growth(memory)
    log(`${name}: well-behaved clients got ${waits.length} snapshots, waiting ms p50=${at(0.5)} p99=${at(0.99)} max=${at(1)}; ` +
      `memory KiB start=${memory[0]} early=${early} late=${late}`)
    if (SECONDS >= GROWTH_SECONDS && late - early > GROWTH_MAX) fail(new Error(`${name}: memory grew by ${late - early} KiB`))
  }
}

async function soak (t) {
  const folder = mkdtempSync(join(tmpdir(), 'introspectd-'))
  t.after(() => rmSync(folder, { recursive: true, force: true }))
  const pki = makePki()
  t.after(() => rmSync(pki.path, { recursive: true, force: true }))
  const parts = await Promise.all([
    guardedMember(t, folder, pki),
    plainMember(t, folder, 'replay', ['--replay', recordMinute(join(folder, 'recording')), '--loop'], [/^replay_/]),
    plainMember(t, folder, 'kernel', ['--pid', `${process.pid}`], [/^watching process=/])
  ])
  await delay(3000)
  const before = await Promise.all(parts.map(({ member }) => atRest(member.d)))
  const actors = []
  for (const part of parts) actors.push(...await part.load())
  const watching = [supervise(), report()]
  await pause(SECONDS * 1000)
  over = true
  for (const f of floods) {
    const { opened, sent, received } = await f.end()
    totals.connections += opened
    totals.bytes += received
    totals.floodBytes = (totals.floodBytes ?? 0) + sent
  }
  await Promise.all([...actors, ...watching])
  for (const [i, { member }] of parts.entries()) await settle(member, before[i])
  summarize()
  for (const member of members) {
    const { code } = await member.d.stop()
    const codes = await Promise.all(member.watchers.map(w => w.closed))
    if (code !== 0) fail(new Error(`${member.name}: exit status ${code}: ${member.d.lines.slice(-60).join('\n')}`))
    if (codes.some(code => code !== 1001 && code !== 1006)) fail(new Error(`${member.name}: closed with ${codes}`))
    if (VALGRIND) checkLog(member)
  }
}

process.on('uncaughtException', fail)
await scope(soak).catch(fail)
log(failure ? 'FAILED' : 'passed')
process.exit(failure ? 1 : 0)
