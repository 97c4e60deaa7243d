// Starts the real daemon for a test and fails the test if it says anything on
// stderr that was not expected.
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join, resolve } from 'node:path'
import { createInterface } from 'node:readline'
import nodeTest from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import protobuf from 'protobufjs'
import WebSocket from 'ws'

export const root = resolve(dirname(fileURLToPath(import.meta.url)), '../..')
export const build = resolve(root, process.env.BUILD ?? 'build')
export const schema = protobuf.loadSync(join(root, 'introspection.proto'))
export const ServerMessage = schema.lookupType('introspection.ServerMessage')

// What the tests start (shells, browsers) writes histories and profiles below the build, not
// into the files of whoever runs the tests.
process.env.HOME = join(build, 'home')
mkdirSync(process.env.HOME, { recursive: true })
for (const name of ['HISTFILE', 'XDG_CACHE_HOME', 'XDG_CONFIG_HOME', 'XDG_DATA_HOME', 'XDG_STATE_HOME']) delete process.env[name]

// What a file of tests started ends with it, also when the test runner ends that for taking
// too long.
process.once('SIGTERM', () => process.exit(1))
process.once('exit', () => {
  const children = readFileSync(`/proc/self/task/${process.pid}/children`, 'utf8')
  for (const [pid] of children.matchAll(/\d+/g)) process.kill(pid, 'SIGKILL')
})

// Resolves with the value once it is truthy; checked again after every event.
export async function until (emitter, event, value, ms = 60000) {
  const signal = AbortSignal.timeout(ms)
  for (;;) {
    const found = value()
    if (found) return found
    await once(emitter, event, { signal }).catch(async error => {
      if (error.name !== 'AbortError') throw error
      // After a process stood still its timers come first, and only then what others sent meanwhile.
      await delay(1000)
      if (!value()) throw new Error(`waited ${ms} ms for ${event}: ${value}`)
    })
  }
}

// For what is only so while nothing stands still for long: attempt() is made again when it returns
// nothing, since a process here, or the daemon, got no processor for too long.
export async function undisturbed (attempt) {
  for (let tries = 0; tries < 10; tries++) {
    const result = await attempt()
    if (result !== undefined) return result
  }
  assert.fail(`never in time: ${attempt}`)
}

// ms: less than after which a connection whose handshake is not finished is ended.
export const SILENCE = 4000

// For what a deadline of the daemon ends: attempt() is made again when it failed after more ms than that.
export const within = (ms, attempt) => undisturbed(async () => {
  const start = performance.now()
  try {
    await attempt()
    return true
  } catch (error) {
    if (performance.now() - start < ms) throw error
  }
})

// KiB of the memory that a process may write. What counts is that it was allocated, not when
// its pages are first used, so a limit for its growth holds on a busy machine, too.
export const memory = ({ pid }) => Number(readFileSync(`/proc/${pid}/status`, 'utf8').match(/^VmData:\s+(\d+) kB$/m)[1])

// The environment of a daemon whose memory is measured: the sanitizer keeps little of what
// was freed, no frames of functions that have returned, which gcc 14 does by default, and of the
// stack of each malloc() only the caller: it never forgets a stack, and TLS 1.3 makes new ones.
export const FRUGAL = {
  ASAN_OPTIONS: 'quarantine_size_mb=1:detect_stack_use_after_return=0:malloc_context_size=1'
}

// A folder of its own for a test, removed at its end.
export function folder (t) {
  const path = mkdtempSync(join(tmpdir(), 'introspectd-'))
  t.after(() => rmSync(path, { recursive: true, force: true }))
  return path
}

// With CORE=1 the core alone is run (make core), without the tests of what is not in it.
const NOT_IN_CORE = /^--(feed|replay|tls-cert|token-file)$/
const notInCore = new Error('not in the core')

// A test of that ends here, which is no failure.
export const test = !process.env.CORE ? nodeTest : (name, ...rest) => {
  const run = rest.pop()
  nodeTest(name, ...rest, async t => {
    try {
      await run(t)
    } catch (error) {
      if (error !== notInCore) throw error
    }
  })
}

// Without these rights, which a user namespace does not give, the daemon says that it cannot see QUIC.
const rights = BigInt('0x' + readFileSync('/proc/self/status', 'utf8').match(/^CapEff:\s+(\w+)$/m)[1])
const [NET_RAW, BPF] = [1n << 13n, 1n << 39n]
export const countsUdp = (prefix = []) => !process.env.CORE && (rights & NET_RAW) && (rights & BPF) && !prefix.includes('unshare')
const blind = /^warning source=kernel reason="QUIC cannot be (seen|told)/
// The kernel source sees the whole machine: others beside the tests may flood it.
const flooded = /^warning source=kernel reason="more than \d+ flows of UDP/

// options: arguments; expect: regular expressions of further stderr lines that
// may come; prefix: e.g. valgrind with its options; stdin: stdio of fd 0; from: the folder
// of another build, which no RUNNER runs.
// t: the test at whose end it is stopped and its stderr checked.
export async function daemon (t, options = [], { expect = [], prefix = [], stdin = 'ignore', env, from = build } = {}) {
  // What a sanitizer or valgrind does beside the daemon is not in the sandbox's list.
  const sandbox = process.env.SANDBOX || process.env.CORE ? [] : ['--no-sandbox']
  const runner = [...prefix, ...(from === build ? process.env.RUNNER?.split(' ') ?? [] : [])]
  const listen = options.some(o => o === '--listen') ? [] : ['--listen', '127.0.0.1:0']
  const program = process.env.CORE ? 'core/introspectd' : 'introspectd'
  if (process.env.CORE && options.some(o => NOT_IN_CORE.test(o))) {
    t.skip(notInCore.message)
    throw notInCore
  }
  const command = [...runner, join(from, program), ...sandbox, ...listen, ...options]
  const child = spawn(command[0], command.slice(1), {
    stdio: [stdin, 'inherit', 'pipe'],
    env: { ...process.env, ...env }
  })
  const lines = []
  const d = { child, lines, pid: child.pid, exit: once(child, 'exit') }
  const reader = createInterface({ input: child.stderr })
  reader.on('line', line => { lines.push(line); child.emit('line', line) })
  const drained = once(reader, 'close')

  d.line = (pattern, ms) => until(child, 'line', () => lines.find(line => pattern.test(line)), ms)
  d.stop = async (signal = 'SIGTERM') => {
    if (child.exitCode === null && child.signalCode === null) child.kill(signal)
    const [code, killed] = await d.exit
    await drained
    return { code, signal: killed }
  }
  t.after(async () => {
    const { code } = await d.stop()
    assert.equal(code, 0, `exit status ${code}: ${lines.join('\n')}`)
    const allowed = [/^(listening|stopping|reloaded) /, flooded, ...expect, ...(countsUdp(prefix) ? [] : [blind])]
    // Of what happens often there is a line in a second, with how many were left out.
    const wrong = lines.filter(line => !allowed.some(pattern => pattern.test(line.replace(/ suppressed=\d+$/, ''))))
    assert.deepEqual(wrong, [], 'unexpected lines on stderr')
  })
  await Promise.race([d.line(/^listening /, 60000), d.exit.then(() => {
    throw new Error(`the daemon did not start: ${lines.join('\n')}`)
  })])
  const url = lines.find(line => line.includes('url='))?.match(/url=(\S+)/)[1]
  if (url) {
    d.url = url
    d.ws = url.replace('http', 'ws')
    d.port = Number(new URL(url).port)
    d.host = new URL(url).host
  }
  return d
}

// A pull client: every snapshot that came, decoded, and what is needed to ask
// for more and to wait.
export async function client (t, url, options = {}) {
  const socket = new WebSocket(url, { perMessageDeflate: false, ...options })
  const c = { socket, snapshots: [], raw: [] }
  socket.on('message', (data, binary) => {
    assert.ok(binary)
    c.raw.push(data)
    c.snapshots.push(ServerMessage.decode(data))
    socket.emit('snapshot')
  })
  socket.on('error', error => { c.error = error })
  c.closed = new Promise(resolve => socket.on('close', (code, reason) => resolve({ code, reason: reason.toString() })))
  c.ready = (message = 'r') => socket.send(message)
  c.received = (n, ms) => until(socket, 'snapshot', () => c.snapshots.length >= n && c.snapshots[n - 1], ms)
  c.next = async ms => {
    const n = c.snapshots.length
    c.ready()
    return c.received(n + 1, ms)
  }
  c.sequences = () => c.snapshots.map(s => Number(s.state.sequence))
  t.after(() => socket.terminate())
  if (socket.readyState === WebSocket.CONNECTING) {
    await Promise.race([once(socket, 'open'), c.closed.then(() => { throw c.error ?? new Error('closed') })])
  }
  return c
}
