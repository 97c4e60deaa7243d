// The kernel source, from outside: what the daemon shows of connections that are
// opened here, and of a process that comes and goes.
import assert from 'node:assert/strict'
import { execFileSync, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync, renameSync, symlinkSync, writeFileSync } from 'node:fs'
import { connect, createServer } from 'node:net'
import { machine, release } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { build, client, countsUdp, daemon, folder, root, test } from './daemon.mjs'

const SHORT = ['--interval', '10']
const ACTIVE = 0
const CLOSED = 1
const INITIATOR = 0
const RESPONDER = 1

const multiaddr = (host, port) => `/${host.includes(':') ? 'ip6' : 'ip4'}/${host}/tcp/${port}`

// A connection on loopback: both its ends, closed when the test ends.
async function pair (t, host) {
  const server = createServer().listen(0, host)
  await once(server, 'listening')
  const accepted = once(server, 'connection')
  const near = connect(server.address().port, host)
  const [[far]] = await Promise.all([accepted, once(near, 'connect')])
  for (const socket of [near, far]) {
    socket.src = multiaddr(socket.localAddress, socket.localPort)
    socket.dst = multiaddr(socket.remoteAddress, socket.remotePort)
  }
  t.after(() => {
    near.destroy()
    far.destroy()
    server.close()
  })
  return { near, far }
}

// Sends bytes and resolves when all of them have been read.
async function move (from, to, bytes) {
  let left = bytes
  const done = new Promise(resolve => {
    to.on('data', function count (data) {
      left -= data.length
      if (left > 0) return
      to.off('data', count)
      resolve()
    })
  })
  from.write(Buffer.alloc(bytes))
  await done
  assert.equal(left, 0)
}

function find (state, { src, dst }) {
  const found = state.subsystems.connections.filter(({ endpoints }) =>
    endpoints.srcMultiaddr === src && endpoints.dstMultiaddr === dst)
  assert.ok(found.length <= 1)
  return found[0]
}

// Of the process that has it open.
function assertTags ({ userProvidedTags }, pid) {
  assert.equal(userProvidedTags.length, 2)
  assert.match(userProvidedTags[0], /^process=./)
  assert.equal(userProvidedTags[1], `pid=${pid}`)
}

// Snapshots until one of them is as expected.
async function until (c, expected) {
  const deadline = Date.now() + 60000
  while (Date.now() < deadline) {
    const { state } = await c.next()
    if (expected(state)) return state
  }
  assert.fail(`no snapshot in which ${expected}`)
}

for (const host of ['127.0.0.1', '::1']) {
  test(`a connection of ${host}: who, how much, how long`, async t => {
    const begin = Date.now()
    const { near, far } = await pair(t, host)
    await move(near, far, 1234567)
    await move(far, near, 89)
    const d = await daemon(t, SHORT)
    const c = await client(t, d.ws)
    const { state } = await c.received(1)
    assert.equal(state.runtime.implementation, countsUdp() ? 'Linux TCP, QUIC by eBPF' : 'Linux TCP')
    assert.equal(state.runtime.version, release())
    assert.equal(state.runtime.platform, `Linux ${machine()}`)
    assert.equal(Number(state.startTs), Number(state.instantTs))
    const ends = [[near, INITIATOR, 89, 1234567], [far, RESPONDER, 1234567, 89]]
    for (const [socket, role, bytesIn, bytesOut] of ends) {
      const connection = find(state, socket)
      assert.equal(connection.id.length, 8)
      assert.equal(connection.status, ACTIVE)
      assert.equal(connection.role, role)
      assert.equal(Buffer.from(connection.transportId).toString(), host === '::1' ? 'ip6+tcp' : 'ip4+tcp')
      assert.equal(Number(connection.traffic.trafficIn.cumBytes), bytesIn)
      assert.equal(Number(connection.traffic.trafficOut.cumBytes), bytesOut)
      assert.ok(Number(connection.traffic.trafficIn.cumPackets) > 0)
      assert.ok(Number(connection.latencyNs) > 0)
      assert.ok(Number(connection.timeline.openTs) >= begin && Number(connection.timeline.openTs) <= Date.now())
      assertTags(connection, process.pid)
    }

    await move(near, far, 1000)
    const later = (await c.next()).state
    assert.equal(Number(later.startTs), Number(state.instantTs))
    const grown = find(later, far).traffic.trafficIn
    assert.equal(Number(grown.cumBytes), 1235567)
    assert.ok(Number(grown.instBw) > 0)
    assert.ok(Number(later.traffic.trafficIn.cumBytes) >= Number(state.traffic.trafficIn.cumBytes) + 1000)

    near.destroy()
    await once(far, 'close')
    const closed = (await c.next()).state
    const last = find(closed, far)
    assert.deepEqual(last.id, find(state, far).id)
    assert.equal(last.status, CLOSED)
    assert.equal(Number(last.timeline.closeTs), Number(closed.instantTs))
    assert.equal(Number(last.traffic.trafficIn.cumBytes), 1235567)
    assert.equal(find((await c.next()).state, far), undefined)
  })
}

// Loaded into the daemon: seconds, written to a file, by which the clock is wrong.
const CLOCK = `
  #define _GNU_SOURCE
  #include <stdio.h>
  #include <stdlib.h>
  #include <sys/syscall.h>
  #include <time.h>
  #include <unistd.h>
  int clock_gettime(clockid_t clock, struct timespec *t) {
    long shift = 0;
    FILE *f = clock == CLOCK_REALTIME ? fopen(getenv("SHIFT"), "r") : NULL;
    if (f && fscanf(f, "%ld", &shift) != 1) abort();
    if (f) fclose(f);
    int result = (int)syscall(SYS_clock_gettime, clock, t);
    t->tv_sec += shift;
    return result;
  }`

test('a clock that is set: all times are as of the clock that is right now', { skip: process.env.CORE && 'not in the core' }, async t => {
  const dir = folder(t)
  const library = join(dir, 'clock.so')
  const shift = join(dir, 'shift')
  execFileSync('cc', ['-shared', '-fPIC', '-o', library, '-xc', '-'], { input: CLOCK })
  const begin = Date.now()
  const { near } = await pair(t, '127.0.0.1')
  const set = seconds => {
    writeFileSync(`${shift}.new`, `${seconds}`)
    renameSync(`${shift}.new`, shift)
  }
  set(-Math.floor(begin / 1000) + 10)
  const d = await daemon(t, SHORT, {
    from: join(root, process.env.SANDBOX_BUILD ?? 'build'), env: { LD_PRELOAD: library, SHIFT: shift }
  })
  const c = await client(t, d.ws)
  assert.ok(Number((await c.received(1)).state.instantTs) < 1e8, 'it is 1970')
  // ms: two clocks are not read at the same moment.
  const LATE = 10000
  for (const seconds of [0, -3600, 3600]) {
    set(seconds)
    const low = begin + seconds * 1000
    const high = () => Date.now() + seconds * 1000 + LATE
    await c.next()   // one that was taken for the metrics, perhaps
    const { state } = await c.next()
    const { openTs } = find(state, near).timeline
    const times = [low - LATE, openTs, state.startTs, state.instantTs, high()].map(Number)
    assert.deepEqual(times, [...times].sort((a, b) => a - b))
    const metrics = await (await fetch(`${d.url}metrics`)).text()
    const started = 1000 * Number(/^process_start_time_seconds (\S+)$/m.exec(metrics)[1])
    assert.ok(started >= low - LATE && started <= high(), `${started} is not between ${low} and ${high()}`)
  }
})

for (const listen of ['127.0.0.1:0', '[::1]:0', '0.0.0.0:0', '[::]:0']) {
  test(`the clients of a daemon at ${listen} are not among the connections`, async t => {
    const d = await daemon(t, [...SHORT, '--listen', listen], { expect: [/^warning address=/] })
    const c = await client(t, `ws://${listen.startsWith('[') ? '[::1]' : '127.0.0.1'}:${d.port}/`)
    await c.received(1)
    const { near } = await pair(t, '127.0.0.1')
    const { state } = await c.next()
    const ports = state.subsystems.connections.flatMap(({ endpoints }) =>
      [endpoints.srcMultiaddr, endpoints.dstMultiaddr].map(address => Number(address.split('/').pop())))
    assert.ok(!ports.includes(d.port))
    assert.ok(find(state, near))
  })
}

// A process of this name that holds one connection to itself, over which it has
// sent this many bytes.
async function start (t, name, bytes) {
  const script = `
    const server = net.createServer(far => far.on('data', data => {
      left -= data.length
      if (left === 0) console.log('moved')
    })).listen(0, '127.0.0.1', () => net.connect(server.address().port, '127.0.0.1').write(Buffer.alloc(left)))
    let left = ${bytes}`
  const child = spawn(name, ['-e', script], { stdio: ['ignore', 'pipe', 'inherit'] })
  t.after(() => child.kill('SIGKILL'))
  await once(createInterface({ input: child.stdout }), 'line')
  return child
}

const total = state => Number(state.traffic.trafficIn.cumBytes)
const statuses = state => state.subsystems.connections.map(({ status }) => status)

// Of the process, not of the kernel.
const own = state => state.resources.filter(({ scope }) => scope === 'process')

test('a process by its name, across restarts', async t => {
  const name = `watched-${process.pid}`
  const path = join(folder(t), name)
  symlinkSync(process.execPath, path)
  const { near } = await pair(t, '127.0.0.1')
  const d = await daemon(t, [...SHORT, '--pid', name], {
    expect: [/^waiting process=/, /^watching process=/, /^gone process=/]
  })
  const c = await client(t, d.ws)
  const idle = (await c.received(1)).state
  assert.equal(idle.runtime.implementation, `${name} (not running)`)
  assert.deepEqual(idle.subsystems.connections, [])
  assert.deepEqual(own(idle), [])

  let before = 0
  for (const bytes of [5000, 600, 70]) {
    const child = await start(t, path, bytes)
    const { state } = await c.next()
    await d.line(new RegExp(`^watching process="[^"]+" pid=${child.pid} others=0$`))
    assert.match(state.runtime.implementation, new RegExp(` \\(pid ${child.pid}\\)(, QUIC by eBPF)?$`))
    assert.deepEqual(statuses(state), [ACTIVE, ACTIVE])
    assert.equal(find(state, near), undefined)
    for (const connection of state.subsystems.connections) assertTags(connection, child.pid)
    assert.equal(total(state), before + bytes)
    const [files, memory] = own(state)
    assert.deepEqual([files.scope, files.name], ['process', 'open-files'])
    assert.deepEqual([memory.scope, memory.name], ['process', 'memory'])
    const limits = readFileSync(`/proc/${child.pid}/limits`, 'utf8')
    assert.equal(Number(files.limit), Number(/Max open files\s+(\d+)/.exec(limits)[1]))
    assert.ok(Number(files.used) > 4 && Number(memory.used) > 1 << 20)

    child.kill('SIGKILL')
    await once(child, 'exit')
    const gone = await until(c, state => statuses(state).includes(CLOSED))
    await d.line(new RegExp(`^gone .*pid=${child.pid}\\b`))
    assert.equal(gone.runtime.implementation, `${name} (not running)`)
    assert.deepEqual(own(gone), [])
    const empty = await until(c, state => state.subsystems.connections.length === 0)
    before += bytes
    assert.equal(total(empty), before)
  }
  assert.equal(d.lines.filter(line => line.startsWith('gone ')).length, 3)
})

test('a process by its number, to its end', async t => {
  const child = await start(t, process.execPath, 321)
  const d = await daemon(t, [...SHORT, '--pid', `${child.pid}`], {
    expect: [/^watching process=/, /^gone process=/]
  })
  const c = await client(t, d.ws)
  const { state } = await c.received(1)
  assert.deepEqual(statuses(state), [ACTIVE, ACTIVE])
  assert.equal(total(state), 321)
  child.kill()
  await once(child, 'exit')
  const gone = await until(c, state => state.subsystems.connections.length === 0)
  assert.equal(gone.runtime.implementation, `process ${child.pid} (not running)`)
  assert.equal(total(gone), 321)
})

test('a process that does not exist: one line, and no daemon', () => {
  const { status, stderr } = spawnSync(join(build, 'introspectd'), ['--listen', '127.0.0.1:0', '--pid', '4194303'],
    { encoding: 'utf8', timeout: 60000 })
  assert.ok(status > 0)
  assert.deepEqual(stderr.split('\n').filter(line => !line.startsWith('listening ')),
    ['error pid="4194303" reason="there is no such process"', ''])
})

// DHCP servers give machines names in Latin-1.
test('a hostname that is not UTF-8 does not make a snapshot unreadable', { skip: process.getuid() !== 0 && 'needs root' }, async t => {
  const d = await daemon(t, SHORT, {
    prefix: ['unshare', '--uts', 'sh', '-c', 'printf "b\\374ro" > /proc/sys/kernel/hostname; exec "$@"', 'sh']
  })
  const c = await client(t, d.ws)
  const { state } = await c.received(1)
  assert.equal(state.runtime.hostname, 'b?ro')
  const { status, stdout } = spawnSync(join(build, 'introspect'), ['--json', '-n', '1', d.host], { encoding: 'utf8' })
  assert.equal(status, 0)
  assert.equal(JSON.parse(stdout).runtime.hostname, 'b?ro')
})

// ms of CPU time, which unlike a latency does not depend on how busy the machine is.
const cpu = pid => Number(readFileSync(`/proc/${pid}/schedstat`, 'utf8').split(' ')[0]) / 1e6

test('another user with very many open files, and a new socket for each snapshot, delays nobody', async t => {
  const other = process.getuid() === 0 ? { uid: 65534, gid: 65534 } : {}
  const script = `
    try { for (let i = 0; i < 50000; i++) fs.openSync('/dev/null') } catch {}
    process.stdin.resume()`
  for (let i = 0; i < 3; i++) {
    const child = spawn(process.execPath, ['-e', `${script}; fs.writeSync(1, 'x')`], { stdio: ['pipe', 'pipe', 'inherit'], ...other })
    t.after(() => child.kill('SIGKILL'))
    await once(child.stdout, 'data')
  }
  const server = createServer(socket => socket.on('error', () => {})).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const opening = setInterval(() => {
    const socket = connect(server.address().port, '127.0.0.1')
    setTimeout(() => socket.destroy(), 500)
  }, 100)
  t.after(() => { clearInterval(opening); server.close() })
  const d = await daemon(t, [], { expect: [/^warning source=kernel/] })
  const c = await client(t, d.ws)
  await c.received(1, 60000)
  const begin = cpu(d.pid)
  const { state: { instantTs: first } } = await c.next(60000)
  let last = first
  for (let i = 0; i < 5; i++) last = (await c.next(60000)).state.instantTs
  const share = (cpu(d.pid) - begin) / (1000 + Number(last) - Number(first))
  t.diagnostic(`${(100 * share).toFixed(1)} % of the time`)
  assert.ok(share < 0.06, `${share} of the time`)
})

test('ten thousand connections', async t => {
  const hard = Number(/Max open files\s+\d+\s+(\d+)/.exec(readFileSync('/proc/self/limits', 'utf8'))[1])
  const count = Math.min(10000, Math.floor(hard / 2) - 100)
  const sockets = []
  t.after(() => sockets.forEach(socket => socket.resetAndDestroy()))
  const server = createServer(socket => {
    sockets.push(socket)
    socket.on('error', () => {})
    if (sockets.length === 2 * count) server.emit('all')
  }).listen({ port: 0, host: '127.0.0.1', backlog: 1024 })
  t.after(() => server.close())
  await once(server, 'listening')
  const all = once(server, 'all')
  for (let i = 0; i < count; i++) {
    const socket = connect(server.address().port, '127.0.0.1')
    sockets.push(socket)
    await once(socket, 'connect')
  }
  if (sockets.length < 2 * count) await all
  const d = await daemon(t, [...SHORT, '--pid', `${process.pid}`], { expect: [/^watching process=/] })
  const c = await client(t, d.ws)
  const port = `/ip4/127.0.0.1/tcp/${server.address().port}`
  for (const { state } of [await c.received(1, 60000), await c.next(60000), await c.next(60000)]) {
    const connections = state.subsystems.connections.filter(({ endpoints }) =>
      endpoints.srcMultiaddr === port || endpoints.dstMultiaddr === port)
    assert.equal(connections.length, 2 * count)
    assert.ok(connections.every(({ status }) => status === ACTIVE))
    assert.equal(new Set(connections.map(({ id }) => Buffer.from(id).toString('hex'))).size, 2 * count)
    t.diagnostic(`${connections.length} sockets in ${state.snapshotDurationMs} ms`)
  }
})
