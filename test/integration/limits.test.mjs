// As many as there are, and what happens to one more.
import assert from 'node:assert/strict'
import { execFileSync, spawnSync } from 'node:child_process'
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { encode } from './command-client.mjs'
import { client, daemon, folder, FRUGAL, memory, ServerMessage, SILENCE, test, undisturbed, until, within } from './daemon.mjs'
import { encodeState, feedDaemon, node } from './feed-node.mjs'
import { CLOSE, close, connect, frame, handshake, open, ping, request, stopsAtOnce, text } from './raw.mjs'

const HOUR = ['--interval', '3600000']
const SHORT = ['--interval', '10']
// What other tests have open may be megabytes for each client.
const OWN = ['--pid', `${process.pid}`]
const connections = [/^open peer=/, /^clos(ed|ing) peer=/, /^refused status=/]

// poll() fails when its table is longer than the limit, and this part of it is
// there whether it is used or not.
const LISTENERS = Array(16).fill(['--listen', '127.0.0.1:0']).flat()

const GROWTH_MAX = 256   // KiB
const descriptors = d => readdirSync(`/proc/${d.pid}/fd`).length

// Sets the limit so that there is no descriptor for one more.
function exhaust (d) {
  const used = new Set(readdirSync(`/proc/${d.pid}/fd`).map(Number))
  let free = 0
  while (used.has(free)) free++
  execFileSync('prlimit', ['--pid', `${d.pid}`, `--nofile=${free}:`])
}

// ms of processor time since the start.
function busy (d) {
  const fields = readFileSync(`/proc/${d.pid}/stat`, 'utf8').split(') ')[1].split(' ')
  return (Number(fields[11]) + Number(fields[12])) * 10
}

async function answer (t, d, bytes = handshake()) {
  const c = await connect(t, { port: d.port })
  c.send(bytes)
  await c.answered()
  return c
}

test('one client more than --max-clients', async t => {
  const d = await daemon(t, [...SHORT, '--max-clients', '3', '-v'], { expect: connections })
  const clients = await Promise.all([1, 2, 3].map(() => client(t, d.ws)))
  await Promise.all(clients.map(c => c.received(1)))
  for (let i = 0; i < 5; i++) {
    const c = await answer(t, d)
    assert.equal(c.status, 503)
    assert.equal(c.field('Retry-After'), '5')
    assert.match(c.body, /--max-clients/)
    await c.end()
    await Promise.all(clients.map(c => c.next()))
  }
  assert.equal((await answer(t, d, request('GET /healthz HTTP/1.1'))).status, 200)
  clients[0].socket.close()
  await clients[0].closed
  const fourth = await client(t, d.ws)
  await fourth.received(1)
  await Promise.all(clients.slice(1).map(c => c.next()))
})

test('every slot taken by connections that say nothing: the oldest makes room', async t => {
  await within(SILENCE, async () => {
    const d = await daemon(t, [...SHORT, '--max-clients', '2'])
    const c = await client(t, d.ws)
    await c.received(1)
    const silent = []
    for (let i = 0; i < 17; i++) silent.push(await connect(t, { port: d.port }))
    // Who was accepted in the same moment does not make room.
    for (let i = 0; i < 2; i++) await c.next()
    assert.equal((await answer(t, d, request('GET /healthz HTTP/1.1'))).status, 200)
    await silent[0].end()
    const second = await client(t, d.ws)
    await second.received(1)
    await Promise.all([c.next(), second.next()])
    assert.match((await answer(t, d)).body, /--max-clients/)
    await silent[1].end()
    assert.ok(silent.slice(6).every(c => !c.ended))
    // One of them comes to life.
    second.socket.close()
    await second.closed
    silent[16].send(handshake())
    await silent[16].frame(0)
  })
})

test('idle connections of one address make room for each other, not for whoever is slow to come', async t => {
  await within(SILENCE, async () => {
    const d = await daemon(t, [...SHORT, '--max-clients', '2'])
    const slow = await connect(t, { port: d.port })
    const silent = []
    for (let i = 0; i < 60; i++) {
      silent.push(await connect(t, { port: d.port, localAddress: '127.0.0.66' }))
      // Those that were accepted in the same moment would be refused.
      if (i % 8 === 7) assert.equal((await answer(t, d, request('GET /healthz HTTP/1.1'))).status, 200)
    }
    await Promise.all(silent.slice(0, 40).map(c => c.end()))
    assert.equal(slow.ended, false)
    slow.send(handshake())
    await slow.frame(0)
  })
})

test('idle connections that come all at once do not take the place of another address', async t => {
  await within(SILENCE, async () => {
    const d = await daemon(t, [...SHORT, '--max-clients', '2'])
    const slow = await connect(t, { port: d.port })
    assert.equal((await answer(t, d, request('GET /healthz HTTP/1.1'))).status, 200)
    d.child.kill('SIGSTOP')   // until all of them wait to be accepted in one turn
    const silent = await Promise.all(Array.from({ length: 40 }, () =>
      connect(t, { port: d.port, localAddress: '127.0.0.66' })))
    const late = await connect(t, { port: d.port, localAddress: '127.0.0.67' })
    late.send(handshake())
    d.child.kill('SIGCONT')
    await late.frame(0)
    await Promise.all(silent.slice(18).map(c => c.end()))
    assert.ok(silent.slice(18).every(c => c.status === 503))
    assert.equal(slow.ended, false)
    slow.send(handshake())
    await slow.frame(0)
  })
})

const FULL = /^refused status=503 peer=\S+ reason="as many connections as --max-per-address allows"$/

test('--max-per-address: one more of an address is refused, others are not', async t => {
  const path = join(folder(t), 'socket')
  const d = await daemon(t, [...SHORT, '--max-per-address', '3', '--listen', '127.0.0.1:0', '--listen', path], { expect: [FULL] })
  const clients = await Promise.all([1, 2, 3].map(() => client(t, d.ws)))
  await Promise.all(clients.map(c => c.received(1)))
  const more = await connect(t, { port: d.port })
  await more.end()
  assert.equal(more.status, 503)
  assert.equal(more.field('Retry-After'), '5')
  assert.match(more.body, /--max-per-address/)
  const others = await client(t, d.ws, { localAddress: '127.0.0.2' })
  await others.received(1)
  const local = await Promise.all([1, 2, 3, 4].map(() => client(t, `ws+unix://${path}:/`)))
  await Promise.all(local.map(c => c.received(1)))
  clients[0].socket.close()
  await clients[0].closed
  for (;;) {
    const c = await answer(t, d)
    if (c.status === 101) break
    assert.equal(c.status, 503)   // the slot of the one that closed is not free yet
    await delay(10)
  }
})

test('of this machine any number may come, unless --max-per-address says so', async t => {
  const d = await daemon(t, [...SHORT, '--max-clients', '8'])
  const clients = await Promise.all(Array.from({ length: 8 }, () => client(t, d.ws)))
  await Promise.all(clients.map(c => c.received(1)))
  for (let i = 0; i < 6; i++) await connect(t, { port: d.port })
  assert.match((await answer(t, d)).body, /--max-clients/)
})

// The daemon in a network of its own, where 192.0.2.1 is not a loopback address.
const APART = ['unshare', '-rn', 'sh', '-c', 'ip link set lo up && ip address add 192.0.2.1 dev lo && exec "$@"', 'sh']
const apart = { skip: spawnSync(APART[0], [...APART.slice(1), 'true']).status !== 0 && 'no network of its own' }

test('of another machine half of them', apart, async t => {
  const COUNT = `let n = 0; for (let i = 0; i < 13; i++) require('net').connect(+process.argv[1], '192.0.2.1')
    .on('data', x => { console.log(String(x)); process.exit() }).on('connect', () => ++n < 13 || setTimeout(process.exit, +process.argv[2]))`
  for (const [options, bound] of [[[], true], [['--public-url', 'https://node.example'], false]]) {
    const d = await daemon(t, [...SHORT, '--max-clients', '8', '--listen', '192.0.2.1:0', ...options],
      { prefix: APART, expect: [/^warning /, FULL] })
    const out = execFileSync('nsenter', ['-t', `${d.pid}`, '-U', '-n', '--preserve-credentials', process.execPath, '-e', COUNT, `${d.port}`, bound ? '60000' : '2000'])
    assert.equal(/503.*--max-per-address/s.test(out), bound)
    if (bound) await d.line(FULL)
  }
})

test('those who wait for the answer to a wrong token make room, too', async t => {
  const token = join(folder(t), 'token')
  writeFileSync(token, 'correct-horse.battery_staple~1', { mode: 0o600 })
  // Nor does the daemon wait for them when it goes down.
  await stopsAtOnce(t, async () => {
    const d = await daemon(t, [...SHORT, '--max-clients', '2', '--token-file', token, '-v'],
      { expect: [...connections, /^wrong_token /] })
    const wrong = []
    for (let i = 0; i < 18; i++) {
      wrong.push(await connect(t, { port: d.port, localAddress: `127.0.1.${i}` }))
      wrong[i].send(handshake({ Authorization: 'Bearer wrong' }))
    }
    await until(d.child, 'line', () => d.lines.filter(line => line.startsWith('refused')).length === wrong.length)
    await delay(10)
    const c = await client(t, d.ws, { headers: { Authorization: `Bearer ${readFileSync(token)}` } })
    await c.received(1)
    c.socket.terminate()
    return d
  })
})

test('more at once than there are slots: the rest is refused', async t => {
  const d = await daemon(t, [...SHORT, '--max-clients', '2'])
  await fetch(`${d.url}healthz`)
  d.child.kill('SIGSTOP')
  while (!readFileSync(`/proc/${d.pid}/stat`, 'utf8').includes(') T ')) await delay(1)
  const all = await Promise.all(Array.from({ length: 40 }, () => connect(t, { port: d.port })))
  d.child.kill('SIGCONT')
  await Promise.all(all.slice(18).map(c => c.end()))
  for (const c of all.slice(18)) {
    assert.equal(c.status, 503)
    assert.equal(c.field('Retry-After'), '5')
    assert.match(c.body, /every slot/)
  }
  assert.ok(all.slice(0, 18).every(c => !c.ended && !c.status))
})

// Under valgrind, which takes some of them for itself, the numbers are others.
const numbers = { skip: process.env.RUNNER && 'not run by itself' }

test('the limit on open files is raised for the clients there may be', numbers, async t => {
  const prefix = ['prlimit', '--nofile=40:1000']
  // One snapshot is fresh for all: where the machine has many sockets, and is busy, each takes seconds.
  const d = await daemon(t, [...HOUR, ...OWN, '--max-clients', '100', '--drain', '60'], { prefix, expect: [/^watching /] })
  const clients = await Promise.all(Array.from({ length: 100 }, () => client(t, d.ws)))
  await Promise.all(clients.map(c => c.received(1)))
  assert.equal((await answer(t, d)).status, 503)
})

test('or said to be too low', numbers, async t => {
  const may = ['setpriv', '--bounding-set=-sys_resource', '--inh-caps=-sys_resource']
  if (process.getuid() !== 0) may.length = 0
  const d = await daemon(t, ['--interval', '1000', ...OWN, '--max-clients', '1000', '--drain', '60'], {
    prefix: [...may, 'prlimit', '--nofile=100:100'],
    expect: [/^watching /, /^max_clients_reduced to=\d+ reason="limit on open files is 100"$/]
  })
  const most = Number((await d.line(/^max_clients_reduced/)).match(/to=(\d+)/)[1])
  assert.ok(most > 10 && most < 100)
  const clients = await Promise.all(Array.from({ length: most }, () => client(t, d.ws)))
  await Promise.all(clients.map(c => c.received(1)))
  assert.equal((await answer(t, d)).status, 503)
  await Promise.all(clients.map(c => c.next(120000)))
})

test('no descriptors left: it waits without work, and serves when there are some', async t => {
  const d = await feedDaemon(t, [...SHORT, ...LISTENERS], {
    expect: [/^accept_paused reason="Too many open files" ms=1000$/]
  })
  await node(t, d)
  const c = await client(t, d.ws)
  await c.received(1)
  exhaust(d)
  const waiting = await connect(t, { port: d.port })
  waiting.send(handshake())
  await d.line(/^accept_paused/)
  const start = busy(d), begin = performance.now()
  await delay(1500)
  assert.ok(busy(d) - start <= 100, `${busy(d) - start} ms of work in 1500`)
  const pauses = d.lines.filter(line => line.startsWith('accept_paused')).length
  assert.ok(pauses <= 3 + (performance.now() - begin) / 1000, `${pauses} pauses of a second`)
  assert.equal(waiting.status, 0)
  await c.next()
  execFileSync('prlimit', ['--pid', `${d.pid}`, '--nofile=1024:'])
  await waiting.frame(0)
})

test('no descriptors left: the next is served as soon as another goes', async t => {
  const d = await daemon(t, [...HOUR, ...LISTENERS], { expect: [/^accept_paused /] })
  const pauses = () => d.lines.filter(line => line.startsWith('accept_paused')).length
  let inside = await open(t, { port: d.port })
  await inside.frame(0)
  exhaust(d)
  // The second after which the daemon tries again by itself begins with the pause. On a busy
  // machine not each of the tries has to be quicker.
  const waits = []
  while (waits.length < 5 && !(Math.min(...waits) < 900)) {
    const before = pauses()
    const waiting = await connect(t, { port: d.port })
    waiting.send(handshake())
    await until(d.child, 'line', () => pauses() > before)
    const start = performance.now()
    inside.socket.destroy()
    await waiting.frame(0)
    waits.push(performance.now() - start)
    inside = waiting
  }
  assert.ok(Math.min(...waits) < 900, `${waits} ms`)
})

test('the limit lowered below the length of the table for poll(): it goes on', async t => {
  const d = await feedDaemon(t, [...SHORT, '--ping', '10'], {
    expect: [/^accept_paused /, /^slot /]
  })
  const n = await node(t, d)
  const clients = await Promise.all([1, 2, 3].map(() => client(t, d.ws)))
  await Promise.all(clients.map(c => c.received(1)))
  execFileSync('prlimit', ['--pid', `${d.pid}`, '--nofile=1:'])
  for (let i = 0; i < 5; i++) await Promise.all(clients.map(c => c.next()))
  assert.ok(n.requests >= 6)
  const waiting = await connect(t, { port: d.port })
  waiting.send(handshake())
  await d.line(/^accept_paused/)
  clients[0].socket.close()
  assert.equal((await clients[0].closed).code, 1005)
  execFileSync('prlimit', ['--pid', `${d.pid}`, '--nofile=1024:'])
  await waiting.frame(0)
  // When nothing at all can be polled, signals are still heard.
  execFileSync('prlimit', ['--pid', `${d.pid}`, '--nofile=0:'])
  d.child.kill('SIGUSR1')
  await d.line(/^slot /)
  execFileSync('prlimit', ['--pid', `${d.pid}`, '--nofile=1024:'])
  await clients[1].next()
})

test('nothing is lost, however connections end', async t => {
  const d = await daemon(t, [...HOUR, '-v', '--max-clients', '12'], { expect: connections })
  const c = await client(t, d.ws)
  await c.received(1)
  const before = descriptors(d)
  const ways = [
    async c => c.socket.resetAndDestroy(),
    async c => c.socket.end(),
    async c => { c.send('GET / HT'); c.socket.end() },
    async c => { c.send(request('GET / HTTP/1.1')); await c.end() },
    async c => { c.send(request('GET / HTTP/1.1')); c.socket.resetAndDestroy() },
    async c => { c.send('nonsense\r\n\r\n'); await c.end() },
    async c => { c.send(handshake()); await c.frame(0); c.socket.end() },
    async c => { c.send(handshake()); await c.frame(0); c.socket.resetAndDestroy() },
    async c => { c.send(handshake(), close(1000)); await c.end() },
    async c => { c.send(handshake(), frame(0xff)); await c.end() },
    async c => { c.send(handshake({ Origin: 'null' })); await c.end() }
  ]
  let total = 0
  for (let round = 0; round < 20; round++) {
    await Promise.all(ways.map(async way => {
      total++
      await way(await connect(t, { port: d.port }))
    }))
  }
  const closed = () => d.lines.filter(line => line.startsWith('closed ')).length
  await until(d.child, 'line', () => closed() >= total)
  for (let tries = 0; descriptors(d) !== before && tries < 6000; tries++) await delay(10)   // the last is said before it is closed
  assert.equal(descriptors(d), before)
})

test('a client has a share of a turn: of many pings at once the first and the last are answered', async t => {
  const d = await daemon(t, HOUR)
  const c = await open(t, { port: d.port })
  await c.frame(0)
  c.send(...Array.from({ length: 400 }, (_, i) => ping(`${i}`)))   // less than is read in one turn
  const payloads = () => c.frames.slice(1).map(frame => frame.data.toString())
  await c.until(() => payloads().at(-1) === '399')
  const answered = payloads()
  assert.deepEqual(answered.slice(0, 20), Array.from({ length: 20 }, (_, i) => `${i}`))
  assert.ok(answered.length < 200, `${answered.length}`)
})

test('a large snapshot goes out in shares: 256 KiB in a turn', { skip: process.env.RUNNER && 'not run by itself' }, async t => {
  const log = join(folder(t), 'calls'), size = 8e6
  const d = await feedDaemon(t, HOUR, {
    prefix: ['strace', '--daemonize', '--follow-forks', '--quiet=all', '--trace=poll,ppoll,sendto', '--output', log],
    env: { ASAN_OPTIONS: 'detect_leaks=0' }   // which is not possible under ptrace
  })
  await node(t, d, () => encodeState(size))
  const c = await open(t, { port: d.port })
  await c.frame(0)
  await d.stop()
  const turns = [0]
  for (const line of readFileSync(log, 'utf8').split('\n')) {
    if (/ p?poll\(/.test(line)) turns.push(0)
    turns[turns.length - 1] += Number(line.match(/ sendto\(.* = (\d+)$/)?.[1] ?? 0)
  }
  assert.ok(turns.reduce((a, b) => a + b) > size)
  assert.ok(Math.max(...turns) <= 256 * 1024, `${Math.max(...turns)} bytes`)
})

test('but each of many commands is answered, and goodbye is said', { skip: process.env.CORE && 'not in the core' }, async t => {
  const d = await daemon(t, HOUR)
  const c = await connect(t, { port: d.port })
  c.send(handshake({}, '/introspect'))
  await c.answered()
  const commands = Array.from({ length: 340 }, (_, i) => frame(0x82, encode(i ? 'PUSH_PAUSE' : 'HELLO', { id: i + 1 })))
  c.send(...commands, close(1000))
  await c.end()
  assert.equal(c.frames.length, 341)
  for (const [i, { data }] of c.frames.slice(0, -1).entries()) {
    assert.equal(Number(ServerMessage.decode(data.subarray(12)).response.id), i + 1)
  }
  assert.equal(c.frames[340].opcode, CLOSE)
})

test('200 clients, one of them never reads', async t => {
  const d = await feedDaemon(t, [...SHORT, '--max-clients', '200'], { env: FRUGAL })
  await node(t, d, () => encodeState(30000))
  const stuck = await connect(t, { port: d.port })
  stuck.socket.pause()
  stuck.send(handshake())
  const clients = []
  for (let i = 0; i < 199; i++) clients.push(await open(t, { port: d.port }))
  await Promise.all(clients.map(c => c.frame(0)))
  let before, delivered = 0
  const start = performance.now()
  for (let round = 1; round <= 60; round++) {
    // It asks for all of them, too, until what it does not read fills its socket.
    stuck.send(text('r'))
    for (const c of clients) c.send(text('r'))
    const frames = await Promise.all(clients.map(c => c.frame(round)))
    delivered += frames.length
    for (const c of clients) c.frames[round - 1].data = null
    if (round === 10) before = memory(d)
  }
  const after = memory(d)
  for (const c of clients) {
    assert.equal(c.frames.length, 61)
    assert.equal(c.ended, false)
  }
  assert.ok(delivered > 10000)
  assert.ok(after - before < GROWTH_MAX, `grew by ${after - before} KiB`)
  const ms = Math.round(performance.now() - start)
  t.diagnostic(`${delivered} snapshots in ${ms} ms, ${after - before} KiB more`)
})

test('who reads slowly gets all of a snapshot, though more come than there are buffers, and read nothing', async t => {
  const bytes = encodeState(12e6)
  await undisturbed(async () => {
    const d = await feedDaemon(t, ['--interval', '50', '--max-clients', '200'])
    await node(t, d, () => bytes)
    const slow = await connect(t, { port: d.port })
    const stuck = []
    let taken = 0, last = performance.now(), longest = 0
    slow.socket.on('data', ({ length }) => {
      longest = Math.max(longest, performance.now() - last)
      last = performance.now()
      taken += length
      slow.socket.pause()
      // It takes its snapshot while thirty others come, however long they take on a busy machine.
      setTimeout(() => slow.socket.resume(), taken / 12e6 > stuck.length / 30 ? 200 : 20)
    })
    slow.send(handshake())
    const c = await client(t, d.ws)
    while (!slow.frames.length && !slow.ended) {
      const one = await connect(t, { port: d.port })
      one.socket.pause()
      one.send(handshake())
      stuck.push(one)
      await c.next()
      c.raw.fill(null)
      c.snapshots.fill(null)
    }
    if (slow.ended && Math.max(longest, performance.now() - last) > 1000) return   // it may have been dropped, and rightly
    assert.ok(slow.frames[0]?.data.length > 12e6, 'it was dropped')
    assert.ok(stuck.length > 20, `${stuck.length}`)
    return true
  })
})

test('memory stays flat over 10000 snapshots', async t => {
  const d = await feedDaemon(t, SHORT, { env: FRUGAL })
  await node(t, d, i => encodeState(i % 2 ? 1000 : 200000))
  const clients = await Promise.all(Array.from({ length: 25 }, () => client(t, d.ws)))
  await Promise.all(clients.map(c => c.received(1)))
  const ask = n => Promise.all(clients.map(async c => {
    for (let i = 0; i < n; i++) {
      await c.next()
      c.raw.length = 0
    }
  }))
  await ask(20)
  const before = memory(d)
  await ask(400)
  const after = memory(d)
  assert.ok(after - before < GROWTH_MAX, `grew by ${after - before} KiB`)
})

test('a state over --max-snapshot', async t => {
  const d = await feedDaemon(t, [...SHORT, '--max-snapshot', '10000'], {
    expect: [/^snapshot_too_big bytes=10\d\d\d max_snapshot=10000$/]
  })
  // It fits what a node may send, but not with what the daemon adds.
  const sizes = [100, 9970, 9970, 200]
  const n = await node(t, d, i => encodeState(sizes[i - 1] ?? 200))
  const c = await client(t, d.ws)
  await c.received(1)
  c.ready()
  await d.line(/^snapshot_too_big/)
  const old = await client(t, d.ws)
  const next = await c.received(2)
  assert.ok(n.requests >= 4, `${n.requests}`)   // more, if the other came later than the interval
  assert.equal(next.state.topics[0].name.length, 200)
  assert.deepEqual(c.sequences().slice(0, 2), [1, 2])
  await old.received(1)
  assert.equal(d.lines.filter(line => line.startsWith('snapshot_too_big')).length, 1)
})
