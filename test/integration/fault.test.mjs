// Every library call of the daemon fails, one call site after the other
// (test/fault/fault.c). It serves on, or ends with a line that says why.
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readdirSync, readlinkSync, readFileSync } from 'node:fs'
import { constants } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { after, before, test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { prepare, scenarios, states } from '../fault/scenarios.mjs'
import { build, client, daemon, folder, undisturbed, until } from './daemon.mjs'
import { encodeState, feedDaemon, node } from './feed-node.mjs'
import { connect, handshake } from './raw.mjs'

// FAULT_ALL=1: all errors of every site, twice and for good. FAULT_DEPTH: of how many callers,
// the nearest first, another makes it another site. FAULT_AT_ONCE: runs side by side.
const exhaustive = process.env.FAULT_ALL === '1'
const AT_ONCE = Number(process.env.FAULT_AT_ONCE ?? 4)
const FOR_GOOD = 1000000
const RUN_MS = 30000
const PATIENCE = 120000   // ms for a program to start or end, which is slow where it gets no processor

let files
before(() => { files = prepare() })
after(() => files.remove())
let number = 0

// What a call may fail with, the most telling first.
const ERRORS = {
  malloc: 'ENOMEM',
  calloc: 'ENOMEM',
  realloc: 'ENOMEM',
  accept4: 'EMFILE ECONNABORTED ENOMEM EPERM EINTR',
  bind: 'EADDRINUSE EACCES',
  connect: 'ECONNREFUSED EINTR EACCES ENOMEM',
  listen: 'EADDRINUSE',
  socketpair: 'EMFILE',
  socket: 'EMFILE EAFNOSUPPORT ENOBUFS',
  getsockname: 'ENOBUFS',
  getsockopt: 'ENOBUFS',
  setsockopt: 'ENOPROTOOPT ENOMEM',
  shutdown: 'ENOTCONN',
  poll: 'EINTR ENOMEM EINVAL',
  ppoll: 'EINTR ENOMEM',
  signalfd: 'EMFILE',
  fcntl64: 'ENOMEM EINTR',
  sigprocmask: 'EINVAL',
  read: 'ECONNRESET EINTR EAGAIN EIO',
  write: 'EIO EPIPE EINTR EAGAIN ENOSPC ECONNRESET',
  writev: 'EIO EINTR EAGAIN ENOSPC',
  recv: 'ECONNRESET EINTR EAGAIN ENOMEM ENOBUFS ETIMEDOUT',
  send: 'EPIPE EINTR EAGAIN ENOBUFS ENOMEM ECONNRESET',
  pread64: 'EIO EINTR',
  readlinkat: 'EACCES ENOENT ENOMEM',
  getrandom: 'ENOSYS',
  open64: 'EMFILE ENOENT EACCES EINTR',
  openat64: 'EMFILE ENOENT EACCES EINTR',
  fopen: 'EMFILE ENOENT',
  fopen64: 'EMFILE ENOENT EINTR',
  opendir: 'EMFILE ENOENT',
  fdopendir: 'ENOMEM',
  open_memstream: 'ENOMEM',
  readdir64: 'EIO',
  fgets: 'EIO EINTR',
  fread: 'EIO',
  fseek: 'EIO',
  ftell: 'EIO',
  lseek64: 'ESPIPE',
  ftruncate64: 'EIO',
  fstat64: 'EIO',
  lstat64: 'EACCES ENOENT',
  fstatat64: 'EACCES ENOENT',
  unlink: 'EACCES ENOENT',
  close: 'EIO EINTR',
  getrlimit64: 'EINVAL',
  setrlimit64: 'EPERM',
  uname: 'EFAULT',
  getaddrinfo: 'ENOMEM',
  clock_gettime: 'EINVAL',
  mbedtls_entropy_func: 'EIO',
  syscall: 'ENOSYS EINTR EPERM',
  prctl: 'EINVAL'
}

const errno = name => constants.errno[name]
const exists = d => existsSync(`/proc/${d.pid}/fd`)

// Those that are open, but for what the kernel source has open of /proc: its search for the
// holders of sockets goes on in the next snapshot.
function descriptors (d) {
  const folder = `/proc/${d.pid}/fd`
  const leads = fd => { try { return readlinkSync(`${folder}/${fd}`) } catch { return '/proc' } }
  return exists(d) ? readdirSync(folder).filter(fd => !leads(fd).startsWith('/proc')).length : 0
}

// ms of processor time.
function busy (d) {
  const fields = readFileSync(`/proc/${d.pid}/stat`, 'utf8').split(') ')[1].split(' ')
  return (Number(fields[11]) + Number(fields[12])) * 10
}

// mbedtls 3.6 forgets two ciphers of 424 bytes when it has no memory in a handshake of TLS 1.3:
// mbedtls_ssl_tls13_compute_handshake_transform frees what points to them. Only whole stacks,
// which take long, tell whether a leak is that one.
const tellsLeaks = fault => /^[cm]alloc libmbed/.test(fault ?? '')

// Starts a program of which calls fail. over: how it ended; calls(): what the log says.
function launch (t, program, args, { fault, depth = 1 }) {
  const log = join(folder(t), 'calls')
  const child = spawn(join(build, program), args, {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: {
      ...process.env,
      LD_PRELOAD: join(build, 'test/fault/fault.so'),
      ASAN_OPTIONS: `verify_asan_link_order=0:${tellsLeaks(fault) ? 'fast_unwind_on_malloc=0:' : ''}${process.env.ASAN_OPTIONS ?? ''}`,
      LSAN_OPTIONS: `print_suppressions=0:suppressions=${files.suppressions}`,
      FAULT_LOG: log,
      FAULT_DEPTH: `${depth}`,
      ...(fault && { FAULT: fault })
    }
  })
  const p = { child, pid: child.pid, lines: [], out: '' }
  child.stdout.on('data', data => { p.out += data })
  createInterface({ input: child.stderr }).on('line', line => { p.lines.push(line); child.emit('line') })
  p.exit = once(child, 'close').then(([code, signal]) => {
    p.over = { code, signal }
    child.emit('line')
    return p.over
  })
  p.calls = () => existsSync(log) ? readFileSync(log, 'utf8').split('\n').slice(0, -1) : []
  t.after(() => { child.kill('SIGKILL'); return p.exit })
  return p
}

async function start (t, scenario, how) {
  const settings = { files, number: ++number, ask: scenario.ask?.(files) ?? {} }
  const args = ['--no-sandbox', ...scenario.options(t, settings)]
  const d = Object.assign(launch(t, 'introspectd', args, how), settings)
  await until(d.child, 'line', () => d.over ?? d.lines.find(line => /^listening url=/.test(line)), PATIENCE)
  d.url = d.lines.find(line => line.includes('url='))?.match(/url=(\S+)/)[1]
  if (d.url) Object.assign(d, { ws: d.url.replace('http', 'ws'), port: Number(new URL(d.url).port) })
  return d
}

// Does a client that does nothing wrong get its snapshots?
async function serves (t, d) {
  for (let tries = 0; tries < 5 && !d.over; tries++) {
    try {
      const c = await client(t, d.ws, { ...d.ask, handshakeTimeout: 10000 })
      await c.received(1)
      await c.next()
      c.socket.terminate()
      return true
    } catch {
      await delay(100)
    }
  }
  return false
}

// The number of descriptors, once it is normal or nobody lingers any more.
async function settled (d, normal) {
  for (let i = 0; i < 600 && descriptors(d) > normal; i++) await delay(50)
  return descriptors(d)
}

// Lives the scenario once. Returns what came of it.
async function live (scenario, { fault, depth = 1, forGood = false } = {}) {
  const cleanups = []
  const visits = []   // of clients, which end before it is counted who is left
  const t = { after: f => cleanups.unshift(f) }
  const visit = { after: f => visits.unshift(f) }
  const r = { scenario: scenario.name, fault, wrong: [] }
  if (scenario.args) return watch(t, scenario, r, depth).finally(() => Promise.all(cleanups.map(f => f())))
  try {
    const d = await start(t, scenario, { fault, depth })
    if (!d.over) {
      scenario.begin?.(t, d)
      const late = delay(RUN_MS, undefined, { ref: false }).then(() => { throw new Error(`not done in ${RUN_MS} ms`) })
      await Promise.race([scenario.live(visit, d), late]).catch(error => { r.error = error })
      r.served = await serves(visit, d)
      if (forGood && !d.over) {
        const before = busy(d)
        await delay(500)
        r.busy = d.over ? 0 : busy(d) - before
      }
      scenario.end?.(d)
      for (const end of visits.splice(0)) await end()
      r.descriptors = await settled(d, scenario.descriptors ?? 0)
      d.child.kill('SIGTERM')
    }
    const slow = setTimeout(() => { r.wrong.push('does not end'); d.child.kill('SIGABRT') }, PATIENCE)
    Object.assign(r, await d.exit, { lines: d.lines, calls: d.calls() })
    clearTimeout(slow)
  } catch (error) {
    r.wrong.push(error.stack)
  } finally {
    for (const cleanup of [...visits, ...cleanups]) await cleanup()
  }
  return r
}

// The same for introspect, whose daemon nothing befalls.
async function watch (t, scenario, r, depth) {
  const file = join(folder(t), 'recorded')
  const p = launch(t, 'introspect', [...scenario.args(file), ...watched.args], { fault: r.fault, depth })
  const slow = setTimeout(() => { r.wrong.push('does not end'); p.child.kill('SIGABRT') }, PATIENCE)
  Object.assign(r, await p.exit, { lines: p.lines, calls: p.calls(), out: p.out })
  clearTimeout(slow)
  const size = existsSync(file) ? readFileSync(file).length : 0
  const complete = scenario.name === 'record' ? size > 100 : p.out.split('\n').length === 3
  const reasons = p.lines.filter(line => /^introspect: (?!snapshots recorded)|^error /.test(line))
  // Who reads a pipe, or a socket, may have seen enough.
  const unread = /^writev? /.test(r.fault) && ['EPIPE', 'ECONNRESET'].some(name => r.fault.endsWith(` ${errno(name)}`))
  if (r.code === 0 && !complete && !unread) r.wrong.push('not all of the output')
  if (r.code > 4 || (r.code > 0 && reasons.length === 0)) r.wrong.push(`exit status ${r.code}, no message`)
  return r
}

// What must hold whatever failed.
function judge (r, { scenario, forGood = false, unharmed = false }) {
  if (scenario.args) return r.signal ? [`killed by ${r.signal}`, ...r.wrong] : r.wrong
  const errors = r.lines?.filter(line => /^error .*=".*"|^introspectd: /.test(line)) ?? []
  const wrong = [...r.wrong]
  if (r.signal) wrong.push(`killed by ${r.signal}`)
  if (r.lines?.some(line => !/^[a-z_]+( [a-z_]+=|$)/.test(line))) wrong.push('a line that is not a log line')
  if (r.code === 0) {
    if (!forGood && !r.served) wrong.push('does not serve')
    if (unharmed && r.error) wrong.push('was harmed')
    // Without a clock, nobody who is slow is ever dropped.
    const lasts = forGood && r.fault.startsWith('clock_')
    if (r.descriptors > scenario.descriptors && !lasts) wrong.push(`${r.descriptors} descriptors, not ${scenario.descriptors}`)
    if (r.busy > 100) wrong.push(`spins: ${r.busy} ms of 500`)
  } else if (unharmed || r.code !== 1 || errors.length !== 1) {
    wrong.push(`exit status ${r.code} with ${errors.length} messages`)
  }
  return wrong
}

const report = (r, wrong) =>
  [`${r.scenario}: ${r.fault}: ${wrong.join(', ')}`, ...(r.lines ?? []).slice(-40), r.error ?? ''].join('\n  ')

// Lives without a fault: what calls there are, and what is normal.
async function learn (scenario, depth) {
  let r
  for (let tries = 0; tries < 3 && (!r || r.error); tries++) r = await live(scenario, { depth })   // of which a busy machine may be the cause
  assert.ifError(r.error)
  scenario.descriptors = r.descriptors
  assert.deepEqual(judge(r, { scenario }), [], report(r, []))
  return r.calls.filter(line => !line.startsWith('struck'))
}

// The faults for a call site.
function faultsOf (site) {
  const names = ERRORS[site.split(' ')[0]]?.split(' ')
  assert.ok(names, `no errors are known for ${site}`)
  // The first line that is written names the port, which the clients need.
  const first = site.startsWith('write ') ? 2 : 1
  if (!exhaustive) return [{ fault: `${site} ${first} ${first} ${errno(names[0])}` }]
  return names.flatMap(name => [
    { fault: `${site} ${first} ${first} ${errno(name)}` },
    { fault: `${site} ${first + 1} ${first + 1} ${errno(name)}` },
    // Nothing is interrupted for good, or never ready though poll() says so.
    ...(name === 'EINTR' || name === 'EAGAIN'
      ? []
      : [{ fault: `${site} ${first} ${FOR_GOOD} ${errno(name)}`, forGood: true }])])
}

async function runAll (jobs) {
  const failures = []
  let struck = 0
  const queue = jobs.values()
  const work = async () => {
    for (const job of queue) {
      let r, wrong
      // What is to come out unharmed may be harmed by a machine that is too busy.
      for (let tries = job.unharmed ? 3 : 1; tries > 0; tries = wrong.length > 0 ? tries - 1 : 0) {
        r = await live(job.scenario, job)
        wrong = judge(r, job)
      }
      struck += r.calls?.some(line => line.startsWith('struck')) ? 1 : 0
      if (wrong.length > 0) failures.push(report(r, wrong))
    }
  }
  await Promise.all(Array.from({ length: AT_ONCE }, work))
  return { failures, struck }
}

async function expectAll (t, jobs) {
  const { failures, struck } = await runAll(jobs)
  t.diagnostic(`${jobs.length} runs, ${struck} met their fault`)
  assert.equal(failures.length, 0, `${failures.length} of ${jobs.length}:\n${failures.join('\n')}`)
}

async function failAll (t, scenarios) {
  const depth = Number(process.env.FAULT_DEPTH ?? 1)
  const known = new Set()
  const jobs = []
  const learned = await Promise.all(scenarios.map(scenario => learn(scenario, depth)))
  for (const [i, scenario] of scenarios.entries()) {
    for (const site of learned[i]) {
      if (known.has(site)) continue
      known.add(site)
      jobs.push(...faultsOf(site).map(fault => ({ scenario, depth, ...fault })))
    }
  }
  t.diagnostic(`${known.size} call sites`)
  await expectAll(t, jobs)
}

test('every call site fails', t => failAll(t, scenarios))

// All of the scenario must come out as if nothing had been.
const unharmed = faults => scenarios.flatMap(scenario => faults.map(fault => ({ scenario, fault, unharmed: true })))

const MOVING = 'poll,accept4,recv,send,read,write,pread64,close'

test('every call site is interrupted at first', t =>
  expectAll(t, unharmed([1, 2, 3].map(n => `${MOVING} * ${n} ${n} ${errno('EINTR')}`))))

test('reads and writes move one byte at a time', t => expectAll(t, unharmed(['* * 1 1000 0'])))

test('time jumps ahead by an hour', t =>
  expectAll(t, scenarios.map(scenario => ({ scenario, fault: 'clock_gettime * 20 20 -3600000' }))))

// The daemon that introspect watches in its scenarios.
let watched

test('every call site of introspect fails', async t => {
  const d = await daemon(t, ['--feed', '-', '--interval', '10', '--tls-cert', files.cert, '--tls-key', files.key,
    '--token-file', files.token], { stdin: 'pipe', expect: [/^feed_disconnected/] })
  d.child.stdin.on('error', () => {})   // it ends first
  const flow = setInterval(() => d.child.stdin.write(states()), 50)
  t.after(() => clearInterval(flow))
  const url = d.ws.replace('127.0.0.1', 'localhost')
  watched = { args: ['--duration', '8', '--ca', files.cert, '--token-file', files.token, url] }
  await failAll(t, [
    { name: 'json', args: () => ['--json', '--count', '2'] },
    { name: 'record', args: file => ['--record', file, '--count', '2'] },
    { name: 'events', args: () => ['--events', '--count', '2'] }
  ])
})

test('privileges that cannot be dropped end the start', async t => {
  const user = process.getuid() === 0 ? ['--user', 'nobody'] : []
  const begin = async fault => {
    const p = launch(t, 'introspectd', ['--listen', '127.0.0.1:0', '--replay', files.recording, ...user], { fault })
    await until(p.child, 'line', () => p.over ?? p.lines.find(line => line.startsWith('listening')), PATIENCE)
    p.child.kill('SIGKILL')   // a sanitizer cannot end in the sandbox
    await p.exit
    return p
  }
  const dropping = /^(getpwnam|initgroups|setgid|setuid|prctl|syscall) introspectd/
  const sites = (await begin()).calls().filter(line => dropping.test(line))
  assert.ok(sites.length >= 2 + user.length, sites.join())
  // Of the calls of syscall(), capset's, then the first of Landlock, which may be missing; and the
  // bounding set stays without CAP_SETPCAP.
  const optional = [sites.filter(site => site.startsWith('syscall'))[1], sites.find(site => site.startsWith('prctl'))]
  for (const site of sites) {
    const { over, lines } = await begin(`${site} 1 1 ${errno('EPERM')}`)
    const errors = lines.filter(line => line.startsWith('error ')).length
    assert.deepEqual([over.code, errors], optional.includes(site) ? [null, 0] : [1, 1], `${site}: ${lines.join()}`)
  }
})

test('who has read all while the daemon was stopped is not dropped for it', async t => {
  const size = 4 << 20
  const d = await feedDaemon(t, ['--drain', '2'])
  await node(t, d, () => encodeState(size))
  const c = await undisturbed(async () => {
    const c = await connect(t, { port: d.port })
    c.socket.pause()
    const start = performance.now()
    c.send(handshake())
    await delay(500)
    if (performance.now() - start > 1500) return   // it may be about to be dropped, and rightly
    d.child.kill('SIGSTOP')
    c.socket.resume()
    return c
  })
  await delay(2500)
  d.child.kill('SIGCONT')
  assert.ok((await c.frame(0)).data.length > size)
})
