// Floods of every kind, and a well-behaved client among them: it gets each snapshot
// within twice the time that it takes without, and misses none; afterwards the daemon
// is as it was before. LOAD=full: for longer, and more of them (make load).
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { readdirSync, readFileSync, rmSync } from 'node:fs'
import test, { after, before, describe } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { flood, many } from '../load/flood.mjs'
import { client, FRUGAL, memory } from './daemon.mjs'
import { encodeState, feedDaemon, node } from './feed-node.mjs'
import { clientHello, makePki } from './pki.mjs'
import { close, frame, handshake, ping, request, text } from './raw.mjs'

const FULL = process.env.LOAD === 'full'
const MS = FULL ? 15000 : 1500   // of each flood
const INTERVAL = 100             // ms
const GROWTH_MAX = 2048          // KiB: what a sanitizer keeps of what was freed, and buffers of TLS

const drip = request('GET / HTTP/1.1', { 'X-Long': 'x'.repeat(7000) })
const commandRequest = frame(0x82, Buffer.from([0x18, 1, 0x20, 1]))   // REQUEST RUNTIME
const garbage = randomBytes(16384)

const descriptors = d => readdirSync(`/proc/${d.pid}/fd`).length

// Connections at the daemon's port that have a descriptor of it, or will have one once it accepts them.
// inode is 0 of a connection without a descriptor: one not accepted yet, or one that only the kernel
// still ends.
const LISTEN = '0A', TO_ACCEPT = ['01', '03', '08']   // ESTABLISHED, SYN_RECV, CLOSE_WAIT
const connections = d => readFileSync('/proc/net/tcp', 'utf8').split('\n').slice(1, -1).filter(line => {
  const [, local, , state, , , , , , inode] = line.trim().split(/\s+/)
  return parseInt(local.split(':')[1], 16) === d.port && state !== LISTEN && (inode !== '0' || TO_ACCEPT.includes(state))
}).length

// ms that the daemon could have run but for other processes, since it began.
function waited (d) {
  try {
    return Number(readFileSync(`/proc/${d.pid}/schedstat`, 'utf8').split(' ')[1]) / 1e6
  } catch {
    return 0
  }
}

// Asks for snapshots for ms, each as soon as the last has come. Returns how long each
// took: all in all, and without the time for which the daemon, or this process, which feeds
// the daemon and asks it, could not run as others did, however often that was.
async function watch (d, c, ms) {
  const all = [], times = []
  const end = performance.now() + ms
  let due = performance.now(), late = 0
  const timer = setInterval(() => {
    late += Math.max(0, performance.now() - due - 1)   // a timer counts in ms
    due = performance.now() + 10
  }, 10)
  while (performance.now() < end) {
    const start = performance.now(), before = waited(d)
    late = 0
    await c.next(20000)
    const took = performance.now() - start
    all.push(took)
    times.push(took - late - (waited(d) - before))
    c.raw.length = 0
  }
  clearInterval(timer)
  return { all: all.sort((a, b) => a - b), times: times.sort((a, b) => a - b) }
}

const at = (times, part) => Math.round(times[Math.floor((times.length - 1) * part)])

// The daemon, fed by this process, with its well-behaved client, every slot used once.
async function served (t, clients, { options = [], size = 2000, tls = {} } = {}) {
  const d = await feedDaemon(t, ['--interval', `${INTERVAL}`, '--drain', '2', '--max-clients', `${clients}`, ...options], {
    env: FRUGAL
  })
  await node(t, d, () => encodeState(size))
  const c = await client(t, d.ws, tls)
  await c.received(1)
  const starts = tls.ca ? [await clientHello()] : [drip, handshake({}, '/introspect') + 'x'.repeat(3000)]
  for (const start of starts) {
    const f = flood(d.port, clients + 15, { start, chunk: 9000, ms: 10 })
    t.after(() => f.end())
    await watch(d, c, 1000)
    await f.end()
  }
  return { d, c, fds: await settled(d), kib: memory(d) }
}

// The daemon's descriptors once its good client is the only one that it has.
async function settled (d) {
  for (const end = performance.now() + 60000; connections(d) !== 1 && performance.now() < end;) await delay(50)
  return descriptors(d)
}

// Is the client served during the flood as before, and is all gone afterwards?
// meanwhile: what else is to happen during it.
async function withstand (t, { d, c, fds, kib }, begin, meanwhile = async () => {}) {
  const normal = (await watch(d, c, FULL ? 3000 : 600)).all
  const first = c.snapshots.length
  const floods = begin(d.port)
  t.after(() => Promise.all(floods.map(f => f.end())))
  const [{ all, times }] = await Promise.all([watch(d, c, MS), meanwhile(d)])
  const did = await Promise.all(floods.map(f => f.end()))
  const sequences = c.snapshots.slice(first).map(({ state }) => Number(state.sequence))
  c.snapshots.fill(null)
  const left = await settled(d), grown = memory(d) - kib
  t.diagnostic(`${t.name}: snapshots after ms p50=${at(all, 0.5)} p99=${at(all, 0.99)} max=${at(all, 1)} ` +
    `(by itself ${at(times, 1)}), normally p50=${at(normal, 0.5)} max=${at(normal, 1)}; ${JSON.stringify(did)}; memory +${grown} KiB`)
  for (let i = 1; i < sequences.length; i++) assert.equal(sequences[i], sequences[i - 1] + 1, 'a snapshot was missed')
  const most = 2 * at(normal, 0.5)
  assert.ok(times.at(-1) <= most, `${Math.round(times.at(-1))} ms for a snapshot, at most ${most} expected`)
  assert.equal(left, fds, 'descriptors')
  assert.ok(grown <= GROWTH_MAX, `${grown} KiB more`)
  return did
}

// floods: name, connections, settings; those in extra only with LOAD=full.
async function withstandEach (t, server, floods, extra = []) {
  for (const [name, ...what] of [...floods, ...FULL ? extra : []]) {
    await t.test(name, t => withstand(t, server, port => [flood(port, ...what)]))
  }
}

test('a table for all of them', async t => {
  const server = await served(t, 2100)
  await withstandEach(t, server, [
    ['2,000 handshakes byte by byte', 2000, { start: drip, chunk: 1, ms: 100, rate: 4000 }],
    ['1,000 that never read', 1000, { start: handshake(), repeat: text('r'), ms: 100, deaf: true }],
    ['1,000 that send garbage', 1000, { start: garbage, rate: 4000 }],
    ['1,000 that send garbage once they are in', 1000, { start: handshake() + garbage.toString('latin1'), rate: 4000 }]
  ])
})

test('a small table', async t => {
  const server = await served(t, 64)
  await t.test('2,000 handshakes byte by byte: who comes from another address gets in', async t => {
    let came = 0, refused = 0
    await withstand(t, server, port => [flood(port, 2000, { start: drip, chunk: 1, ms: 100, rate: 1000 })], async d => {
      const end = performance.now() + MS - 500
      for (let tries = 0; tries < 8 || performance.now() < end; tries++) {
        await delay(100)
        try {
          const c = await client(t, d.ws, { localAddress: '127.0.0.2' })
          await c.received(1)
          c.socket.terminate()
          came++
        } catch (error) {
          assert.match(error.message, /503/)   // more came at once than there are slots
          refused++
        }
      }
    })
    t.diagnostic(`${came} came and were served, ${refused} were refused at once`)
    assert.ok(came > 3 && came > 2 * refused)
  })
  const bye = Buffer.concat([Buffer.from(handshake()), text('r'), close(1000)])
  await t.test('10,000 that come and go, at any byte', async t => {
    const did = await withstand(t, server, port => [
      flood(port, 50, { start: bye, cut: true, ends: 'crh', total: 7000 }),
      flood(port, 50, { start: bye, ends: 'ab', total: 3000 })])
    const opened = did[0].opened + did[1].opened
    assert.ok(FULL ? opened === 10000 : opened > 150, `${opened}`)   // more than a hundred are at a time
  })
  const page = request('GET / HTTP/1.1', { 'Accept-Encoding': 'gzip' })
  await withstandEach(t, server, [
    ['frames at full speed', 4, { start: handshake(), repeat: many(text('')) }],
    ['pings at full speed', 4, { start: handshake(), repeat: many(ping('')) }],
    ['pings at full speed, from who never reads', 16, { start: handshake(), repeat: many(ping('x'.repeat(125))), deaf: true }],
    ['commands at full speed', 4, { start: handshake({}, '/introspect'), repeat: many(commandRequest) }],
    ['requests of /healthz', 64, { start: request('GET /healthz HTTP/1.1') }],
    ['requests of /metrics', 64, { start: request('GET /metrics HTTP/1.1') }],
    ['requests of the page by who never reads', 80, { start: page, deaf: true }]
  ], [
    ['frames of 4 KiB at full speed', 4, { start: handshake(), repeat: many(text('x'.repeat(4090))) }],
    ['pings of 125 bytes at full speed', 60, { start: handshake(), repeat: many(ping('x'.repeat(125))) }],
    ['requests of the page', 64, { start: page }]
  ])
})

describe('TLS', () => {
  let pki
  before(() => { pki = makePki() })
  after(() => rmSync(pki.path, { recursive: true, force: true }))

  test('TLS', async t => {
    const hello = await clientHello()
    const server = await served(t, 64, {
      options: ['--tls-cert', pki.file('server.pem'), '--tls-key', pki.file('server.key')], tls: { ca: pki.ca }
    })
    const warning = Buffer.from([21, 3, 3, 0, 2, 1, 90])   // user_canceled, which is passed over
    await withstandEach(t, server, [
      ['2,000 handshakes byte by byte', 2000, { start: hello, chunk: 1, ms: 100, rate: 1000 }],
      ['handshakes at full speed', 64, { start: hello, ends: 'a' }],
      ['warnings at full speed', 8, { start: hello, repeat: many(warning) }],
      ['garbage', 64, { start: garbage }]
    ])
  })
})
