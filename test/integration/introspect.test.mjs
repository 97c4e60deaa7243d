// introspect away from a terminal: what it prints and records, and how it ends.
import assert from 'node:assert/strict'
import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readFileSync, readdirSync, statSync, watch, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { dirname, join, resolve } from 'node:path'
import { createInterface } from 'node:readline'
import { describe, test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { promisify } from 'node:util'
import { WebSocketServer } from 'ws'
import { build, daemon, folder, root, schema, ServerMessage, undisturbed, until } from './daemon.mjs'
import { checksum, completed } from './recording.mjs'

const program = join(build, 'introspect')
// A daemon that shows this test's sockets alone, however many the machine may have.
const own = (t, options = []) =>
  daemon(t, ['--pid', `${process.pid}`, ...options], { expect: [/^watching /] })
const sample = process.env.SAMPLE_RECORDING
const State = schema.lookupType('introspection.State')
const Ready = schema.lookupType('introspection.Ready')
const encode = state => Buffer.from(ServerMessage.encode(ServerMessage.fromObject({ version: { version: 1 }, state })).finish())

// Starts introspect. Its lines on stderr are in errors, its output in bytes.
function introspect (t, args, { command = [program], stdout = 'pipe' } = {}) {
  const child = spawn(command[0], [...command.slice(1), ...args], { stdio: ['ignore', stdout, 'pipe'] })
  const p = { child, errors: [], bytes: Buffer.alloc(0) }
  createInterface({ input: child.stderr }).on('line', line => { p.errors.push(line); child.emit('told') })
  child.stdout?.on('data', data => { p.bytes = Buffer.concat([p.bytes, data]); child.emit('printed') })
  p.lines = () => p.bytes.toString().split('\n').slice(0, -1).map(line => JSON.parse(line))
  p.printed = n => until(child, 'printed', () => p.lines().length >= n && p.lines())
  p.told = pattern => until(child, 'told', () => p.errors.find(line => pattern.test(line)))
  p.end = once(child, 'close').then(([code, signal]) => ({ code, signal, errors: p.errors }))
  t.after(async () => { child.kill('SIGKILL'); await p.end })
  return p
}

// Runs it to its end and expects it to say nothing on stderr.
async function quietly (t, args) {
  const p = introspect(t, args)
  assert.deepEqual(await p.end, { code: 0, signal: null, errors: [] })
  return p
}

// A server written by others, to send what the daemon would not. act(socket, n)
// is called for the connection and for every ready that comes on it.
async function server (t, act) {
  const s = new WebSocketServer({ host: '127.0.0.1', port: 0, perMessageDeflate: false })
  await once(s, 'listening')
  s.closes = []
  s.on('connection', socket => {
    let n = 0
    socket.on('message', (data, binary) => {
      // A plain ready, or one that says which snapshot is here.
      if (!binary) assert.equal(data.toString(), 'r')
      s.have = binary ? Number(Ready.decode(data).have) : 0
      s.readies = ++n
      s.emit('ready')
      act(socket, n)
    })
    socket.on('close', code => { s.closes.push(code); s.emit('closed', code) })
    act(socket, 0)
  })
  t.after(() => { s.clients.forEach(c => c.terminate()); s.close() })
  s.name = `127.0.0.1:${s.address().port}`
  return s
}

// Answers whatever comes with these bytes.
async function answering (t, bytes) {
  const s = createServer(socket => {
    socket.on('error', () => {})
    socket.once('data', () => bytes === null ? socket.destroy() : socket.end(bytes))
  })
  s.listen(0, '127.0.0.1')
  await once(s, 'listening')
  t.after(() => s.close())
  return `127.0.0.1:${s.address().port}`
}

// A recording, read by a decoder of its own: every message, and no byte besides.
function recording (path) {
  const bytes = readFileSync(path)
  const messages = []
  assert.equal(bytes.readUInt32LE(0), 1)
  for (let at = 4; at < bytes.length;) {
    const length = bytes.readUInt32LE(at + 4)
    const message = bytes.subarray(at + 8, at + 8 + length)
    assert.equal(message.length, length)
    assert.equal(bytes.readUInt32LE(at), checksum(message))
    messages.push(message)
    at += 8 + length
  }
  return messages
}

// A recording of at least one state, its runtime and a configuration first. Returns the states.
function states (path) {
  const [first, second, ...rest] = recording(path).map(m => ServerMessage.decode(m))
  assert.equal(first.payload, 'runtime')
  assert.equal(second.payload, 'response')
  assert.ok(rest.length > 0)
  for (const message of rest) assert.equal(message.payload, 'state')
  assert.deepEqual(first.runtime, rest[0].state.runtime)
  return rest.map(m => m.state)
}

// Resolves when a file has more than this many bytes.
async function larger (t, path, size) {
  const watcher = watch(dirname(path))
  t.after(() => watcher.close())
  await until(watcher, 'change', () => existsSync(path) && statSync(path).size > size)
}

const traffic = n => ({ trafficIn: { cumBytes: n, cumPackets: '18446744073709551615', instBw: 1 }, trafficOut: {} })
const everything = {
  sequence: 7,
  instantTs: 1700000000000,
  startTs: 1,
  snapshotDurationMs: 4294967295,
  traffic: traffic(1),
  runtime: {
    implementation: 'quote " backslash \\ slash / newline \n tab \t bell \u0007 delete \u007f',
    version: 'é 日本 🙂 \u2028',
    eventTypes: [{ name: 'E', propertyTypes: [{ name: 'p', type: 'MULTIADDR', hasMultiple: true }, {}] }, {}]
  },
  subsystems: {
    connections: [{
      id: Buffer.from([0, 1, 2, 255]),
      status: 4,
      transportId: Buffer.alloc(2000, 'x'),
      endpoints: { srcMultiaddr: 'a', dstMultiaddr: '' },
      role: 1,
      limited: true,
      retransmittedBytes: '9007199254740993',
      streams: { streamIds: [Buffer.alloc(0), Buffer.from('ab'), Buffer.from('abc')] },
      conn: { peerId: 'relay', connId: Buffer.alloc(0) },
      userProvidedTags: ['', 'two']
    }, {
      status: 77,
      connId: Buffer.alloc(0),
      streams: { streams: [{ conn: { connId: Buffer.alloc(768, 1) }, latencyNs: 5 }, { conn: { conn: {} } }, {}] }
    }, {}],
    dht: { enabled: true, params: { k: 20 }, buckets: [{ cpl: 3, peers: [{ status: 3, ageInBucket: 9 }] }, {}] }
  },
  addresses: [{ multiaddr: '/ip4/127.0.0.1/tcp/1', reachability: 2 }],
  resources: [{}]
}

// ProtoJSON, by protobufjs: what its objects have beyond it are the values of a
// oneof that is a bytes field and empty, which it leaves out.
const protoJson = bytes => JSON.parse(JSON.stringify(State.toObject(ServerMessage.decode(bytes).state, {
  longs: String, enums: String, bytes: String
})))

describe('introspect as JSON', () => {
  test('prints a State as ProtoJSON: every kind of field, hostile strings, unknown enum values', async t => {
    const bytes = encode(everything)
    const s = await server(t, socket => socket.send(bytes))
    const [state] = (await quietly(t, ['--json', '--count', '1', s.name])).lines()
    assert.deepEqual(state, protoJson(bytes))
    assert.equal(state.subsystems.connections[0].retransmittedBytes, '9007199254740993')
    assert.equal(state.subsystems.connections[1].status, 77)
    assert.equal(state.subsystems.connections[1].connId, '')
  })

  test('prints the states of the toolkit\'s sample', { skip: sample ? false : 'SAMPLE_RECORDING is not set' }, async t => {
    const sent = recording(sample).filter(m => ServerMessage.decode(m).payload === 'state')
    const s = await server(t, (socket, n) => socket.send(sent[n]))
    const p = await quietly(t, ['--json', '--count', `${sent.length}`, s.name])
    assert.deepEqual(p.lines(), sent.map(protoJson))
  })

  test('of the real daemon: what it prints is what another client gets', async t => {
    const d = await own(t, ['--interval', '10'])
    const p = await quietly(t, ['--json', '--count', '3', d.host])
    const lines = p.lines()
    assert.deepEqual(lines.map(l => Number(l.sequence)), [1, 2, 3])
    for (const state of lines) {
      assert.equal(state.runtime.source, 'kernel')
      assert.deepEqual(protoJson(encode(State.fromObject(state))), state)
    }
  })

  test('says that it is ready when the line has been written, and answers pings meanwhile', async t => {
    const long = encode({ sequence: 1, runtime: { version: 'x'.repeat(1 << 20) } })
    let readies = 0
    const s = await server(t, (socket, n) => {
      readies = n
      socket.send(long)
      if (n === 0) socket.ping('are you there')
      socket.on('pong', data => s.emit('pong', data.toString()))
    })
    const p = introspect(t, ['--json', '--count', '2', s.name], { stdout: 'pipe' })
    p.child.stdout.pause()
    assert.deepEqual(await once(s, 'pong'), ['are you there'])
    assert.equal(readies, 0)
    p.child.stdout.resume()
    assert.equal((await p.end).code, 0)
    assert.equal(readies, 1)
    assert.deepEqual(p.lines().map(l => l.runtime.version.length), [1 << 20, 1 << 20])
  })

  const long = letter => encode({ sequence: 1, runtime: { version: letter.repeat(1 << 20) } })

  test('a reader that pauses in a line while the daemon restarts gets whole lines', async t => {
    let letter = 'x'
    const s = await server(t, socket => socket.send(long(letter)))
    const p = introspect(t, ['--json', '--count', '2', s.name])
    await once(p.child.stdout, 'data')
    p.child.stdout.pause()
    letter = 'y'
    s.clients.forEach(c => c.terminate())
    await p.told(/trying again$/)
    await delay(1500)   // it would have connected again
    p.child.stdout.resume()
    assert.equal((await p.end).code, 0)
    assert.deepEqual(p.lines().map(l => [l.runtime.version[0], l.runtime.version.length]), [['x', 1 << 20], ['y', 1 << 20]])
  })

  test('sleeps when the time is over and its reader has not read the line', async t => {
    const s = await server(t, socket => socket.send(long('x')))
    const p = introspect(t, ['--json', '--duration', '5', s.name])
    const over = delay(5500)
    await once(p.child.stdout, 'data')
    p.child.stdout.pause()
    await over
    const ticks = () => readFileSync(`/proc/${p.child.pid}/stat`, 'latin1').split(' ').slice(13, 15).reduce((a, b) => a + Number(b), 0)
    const before = ticks(), start = performance.now()
    await delay(1000)
    const share = (ticks() - before) * 10 / (performance.now() - start)
    assert.ok(share < 0.1, `it used ${share} of a processor`)
    p.child.stdout.resume()
    assert.equal((await p.end).code, 0)
    assert.equal(p.lines()[0].runtime.version.length, 1 << 20)
  })

  test('asks for differences, and prints what they make whole', async t => {
    const connection = (id, latencyNs) => ({ id: Buffer.from(id), latencyNs })
    const haves = []
    const s = await server(t, (socket, n) => {
      haves.push(s.have)
      socket.send(encode([
        { sequence: 7, resources: [{ name: 'memory' }],
          subsystems: { connections: [connection('a', 1), connection('b', 2)], dht: { protocol: '/kad' } } },
        { sequence: 8, base: 7, same: ['RESOURCES', 'DHT'], goneIds: [Buffer.from('a')],
          subsystems: { connections: [connection('c', 3)] } },
        { sequence: 9, base: 8, subsystems: { connections: [connection('c', 4)] } },
        { sequence: 10, subsystems: {} }
      ][n]))
    })
    const p = await quietly(t, ['--json', '--count', '4', s.name])
    assert.deepEqual(haves, [undefined, 7, 8, 9])
    assert.deepEqual(p.lines().map(l => [l.sequence, l.base, l.resources?.length ?? 0, l.subsystems.dht?.protocol,
      (l.subsystems.connections ?? []).map(c => Buffer.from(c.id, 'base64') + c.latencyNs).sort().join(' ')]), [
      ['7', undefined, 1, '/kad', 'a1 b2'],
      ['8', undefined, 1, '/kad', 'b2 c3'],
      ['9', undefined, 0, undefined, 'b2 c4'],
      ['10', undefined, 0, undefined, '']
    ])
  })

  test('a difference to what is not here ends the connection', async t => {
    const s = await server(t, (socket, n) => socket.send(encode({ sequence: 7 + n, base: n ? 6 : 0, subsystems: {} })))
    const p = introspect(t, ['--json', s.name])
    assert.match(await p.told(/./), /sent the difference to a snapshot that is not here; trying again$/)
    assert.equal((await once(s, 'closed'))[0], 1007)
    p.child.kill()
    await p.end
  })

  test('a recording asks for whole snapshots', async t => {
    const s = await server(t, (socket, n) => { assert.equal(s.have ?? 0, 0); socket.send(encode({ sequence: n + 1 })) })
    assert.equal((await introspect(t, ['--record', join(folder(t), 'r'), '--count', '3', s.name]).end).code, 0)
    assert.equal(s.readies, 2)
  })

  test('ends in silence when its reader does', async t => {
    const d = await own(t, ['--interval', '10'])
    const { stdout, stderr } = await promisify(execFile)('bash', ['-c',
      'set -o pipefail; "$0" --json "$1" | head -n 1', program, d.host])
    assert.equal(JSON.parse(stdout).sequence, '1')
    assert.equal(stderr, '')
  })

  test('notices at once that its reader is gone', async t => {
    const s = await server(t, (socket, n) => { if (n === 0) socket.send(encode({})) })
    const p = introspect(t, ['--json', s.name])
    await p.printed(1)
    p.child.stdout.destroy()
    assert.deepEqual(await p.end, { code: 0, signal: null, errors: [] })
    assert.equal(s.readies, 1)
  })

  test('--interval keeps it from being ready at once', async t => {
    const times = []
    const s = await server(t, socket => { times.push(performance.now()); socket.send(encode({})) })
    await quietly(t, ['--json', '--count', '3', '--interval', '0.2', s.name])
    assert.ok(times[1] - times[0] >= 199 && times[2] - times[1] >= 199, `${times}`)
  })
})

test("the manual's example for jq", async t => {
  const text = readFileSync(join(root, 'dist/introspect.1'), 'utf8')
  const example = /^introspect --json .*?(?=^\.Ed$)/ms.exec(text)[0].replaceAll('\\(aq', "'")
  for (const [connections, printed] of [
    [[{ peerId: 'a', streams: { streams: [{}] } }, { peerId: 'b' }, { peerId: 'c', streams: { streams: [{}, {}] } }],
      '2\tc\n1\ta\n0\tb\n'],
    [[], '']
  ]) {
    const s = await server(t, socket => socket.send(encode({ subsystems: { connections } })))
    const command = example.replace('introspect', `"$0" ${s.name}`)
    assert.notEqual(command, example)
    const p = introspect(t, [], { command: ['sh', '-c', command, program] })
    assert.deepEqual(await p.end, { code: 0, signal: null, errors: [] })
    assert.equal(p.bytes.toString(), printed)
  }
})

describe('introspect --record', () => {
  test('writes the runtime and each message, with what the observer toolkit needs', async t => {
    const path = join(folder(t), 'r')
    const sent = [everything, { ...everything, sequence: 8 }, { sequence: 9, runtime: { peerId: 'p' } }].map(encode)
    const s = await server(t, (socket, n) => socket.send(sent[n]))
    const p = introspect(t, ['--record', path, '--count', '3', s.name])
    assert.deepEqual(await p.end, { code: 0, signal: null, errors: ['introspect: snapshots recorded: 3'] })
    const [first, second, ...rest] = recording(path)
    assert.deepEqual(rest, await Promise.all(sent.map(completed)))
    // without which the observer toolkit's UI ends
    const { result, effectiveConfig } = ServerMessage.decode(second).response
    assert.deepEqual([result, Number(effectiveConfig.retentionPeriodMs), Number(effectiveConfig.stateSnapshotIntervalMs)],
      [0, 24 * 3600 * 1000, 0])
    assert.deepEqual(ServerMessage.decode(first),
      ServerMessage.decode(ServerMessage.encode(ServerMessage.fromObject({ version: { version: 1 }, runtime: everything.runtime })).finish()))
  })

  test('is played by --replay, and recorded again it is the same', async t => {
    const path = folder(t)
    const d = await own(t, ['--interval', '50'])
    const first = introspect(t, ['--record', join(path, 'a'), '--count', '4', d.host])
    assert.equal((await first.end).code, 0)
    // Who is not ready in time is not shown the state before, and the time is over then.
    await undisturbed(async () => {
      const replay = await daemon(t, ['--replay', join(path, 'a'), '--interval', '10'],
        { expect: [/^replay_done states=4 skipped=0$/] })
      const second = introspect(t, ['-o', join(path, 'b'), '--force', '-n', '4', '--duration', '10', replay.host])
      const { code } = await second.end
      assert.ok(code === 0 || code === 3, `${code}`)
      return code === 0 || undefined
    })
    // The daemon owns these two.
    const rest = ({ sequence, runtime, ...state }) => State.encode(State.create(state)).finish()
    assert.deepEqual(states(join(path, 'b')).map(rest), states(join(path, 'a')).map(rest))
  })

  test('to standard output', async t => {
    const d = await own(t, ['--interval', '10'])
    const path = join(folder(t), 'r')
    const p = introspect(t, ['--record', '-', '--count', '2', d.host])
    assert.equal((await p.end).code, 0)
    writeFileSync(path, p.bytes)
    assert.equal(states(path).length, 2)
  })

  test('does not overwrite a file unless told to', async t => {
    const d = await own(t)
    const path = join(folder(t), 'r')
    writeFileSync(path, 'precious')
    assert.deepEqual(await introspect(t, ['--record', path, d.host]).end,
      { code: 4, signal: null, errors: [`introspect: ${path}: File exists (--force overwrites it)`] })
    assert.equal(readFileSync(path, 'utf8'), 'precious')
    assert.equal((await introspect(t, ['--record', path, '--force', '--count', '1', d.host]).end).code, 0)
    assert.equal(states(path).length, 1)
  })

  test('where an address follows, a file may have the name of one', async t => {
    const path = join(folder(t), 'run:2024')
    const s = await server(t, (socket, n) => socket.send(encode({ ...everything, sequence: n + 1 })))
    const p = introspect(t, ['--record', 'run:2024', '--count', '2', s.name],
      { command: ['sh', '-c', `cd '${dirname(path)}' && exec "$0" "$@"`, resolve(program)] })
    assert.deepEqual(await p.end, { code: 0, signal: null, errors: ['introspect: snapshots recorded: 2'] })
    assert.equal(states(path).length, 2)
  })

  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) {
    test(`${signal} leaves a valid file`, async t => {
      const path = join(folder(t), 'r')
      const s = await server(t, (socket, n) => { if (n < 3) socket.send(encode(everything)) })
      const p = introspect(t, ['--record', path, s.name])
      await until(s, 'ready', () => s.readies === 3)
      p.child.kill(signal)
      assert.deepEqual(await p.end, { code: null, signal, errors: ['introspect: snapshots recorded: 3'] })
      assert.equal(states(path).length, 3)
      if (!s.closes.length) await once(s, 'closed')
      assert.deepEqual(s.closes, [1000])
    })
  }

  test('a full disk: ends at the last whole message and says so', async t => {
    const path = join(folder(t), 'r')
    const s = await server(t, socket => socket.send(encode({ runtime: { version: 'x'.repeat(20000) } })))
    const p = introspect(t, ['--record', path, s.name],
      { command: ['bash', '-c', 'ulimit -f 100; exec "$0" "$@"', program] })
    assert.deepEqual(await p.end, {
      code: 4, signal: null, errors: [`introspect: ${path}: File too large`, 'introspect: snapshots recorded: 4']
    })
    assert.equal(states(path).length, 4)
  })

  test('a device that is full from the start', async t => {
    const s = await server(t, socket => socket.send(encode({})))
    assert.deepEqual(await introspect(t, ['--record', '/dev/full', '--force', s.name]).end,
      { code: 4, signal: null, errors: ['introspect: /dev/full: No space left on device'] })
  })

  test('leaves no file behind when there was nothing to record', async t => {
    const path = folder(t)
    const port = Number((await answering(t, null)).split(':')[1])
    const p = introspect(t, ['--record', join(path, 'r'), `127.0.0.1:${port}`])
    assert.equal((await p.end).code, 1)
    assert.deepEqual(readdirSync(path), [])
  })

  test('goes on when the daemon comes back, and says both', async t => {
    const path = folder(t)
    const file = join(path, 'r')
    const options = ['--listen', join(path, 's'), '--interval', '10']
    const first = await own(t, options)
    const p = introspect(t, ['--record', file, join(path, 's')])
    await larger(t, file, 1000)
    await first.stop()
    await p.told(/s: closed the connection \(1001, going away\); trying again$/)
    const before = statSync(file).size
    await own(t, options)
    await p.told(/connected to .*s$/)
    await larger(t, file, before)
    p.child.kill('SIGINT')
    const { signal, errors } = await p.end
    assert.equal(signal, 'SIGINT')
    const all = states(file)
    assert.equal(errors.length, 3)
    assert.equal(errors[2], `introspect: snapshots recorded: ${all.length}`)
    assert.ok(all.slice(1).some(state => Number(state.sequence) === 1), 'of the second daemon')
  })

  test('the exit status says that the time was over first', async t => {
    const path = folder(t)
    const first = (socket, n) => { if (n === 0) socket.send(encode({ runtime: {} })) }
    const [s, brief] = [await server(t, first), await server(t, first)]
    const [p, q, lost] = [['r', '--count', '2'], ['q'], ['l']].map(([name, ...options]) =>
      introspect(t, ['--record', join(path, name), '--duration', '6', ...options, name === 'l' ? brief.name : s.name]))
    await larger(t, join(path, 'l'), 20)
    brief.clients.forEach(c => c.terminate())
    brief.close()
    assert.deepEqual(await p.end, {
      code: 3,
      signal: null,
      errors: ['introspect: the time is over', 'introspect: snapshots recorded: 1']
    })
    assert.equal(states(join(path, 'r')).length, 1)
    assert.equal((await q.end).code, 0)
    assert.equal((await lost.end).code, 3)
    assert.match(lost.errors[1], /the time is over, and there is no connection: 127\.0\.0\.1:\d+: /)
    assert.equal(states(join(path, 'l')).length, 1)
  })

  test('why there is no connection is told also when the time is over while it connects again', async t => {
    const path = folder(t)
    const why = await undisturbed(async () => {
      const s = await server(t, (socket, n) => { if (n === 0) socket.send(encode({ runtime: {} })) })
      const p = introspect(t, ['--record', join(path, s.name), '--duration', '3', s.name])
      await Promise.race([larger(t, join(path, s.name), 20), p.end])
      s.clients.forEach(c => c.terminate())
      s.close()
      const again = [], silent = createServer(socket => { again.push(socket) }).listen(s.name.split(':')[1], '127.0.0.1')
      await p.end
      silent.close()
      again.forEach(socket => socket.destroy())
      if (again.length > 0 && p.errors[0]?.endsWith('trying again')) return p.errors[1]
    })
    assert.match(why, /the time is over, and there is no connection: 127\.0\.0\.1:\d+: broke the connection off$/)
  })
})

describe('introspect connects', () => {
  test('to addresses of every form', async t => {
    const path = join(folder(t), 's')
    const d = await own(t, ['--listen', '127.0.0.1:0', '--listen', '[::1]:0', '--listen', path, '--interval', '10'])
    await until(d.child, 'line', () => d.lines.filter(line => line.startsWith('listening ')).length === 3)
    const v6 = d.lines.find(line => line.includes('[::1]')).match(/\[::1\]:(\d+)/)[1]
    for (const address of [d.host, `localhost:${d.port}`, `ws://${d.host}`, `ws://${d.host}/`, d.url, `ws://${d.host}?x=1`,
      `${d.url}?x=1#y`, `${d.url}#/connections`, `[::1]:${v6}`, `ws://[::1]:${v6}/`, path]) {
      const p = await quietly(t, ['--json', '--count', '1', address])
      assert.equal(p.lines().length, 1, address)
    }
  })

  // Its default port may be in use here, so that is tried in a network of its own.
  test('to the daemon of this machine, on IPv6 when it is not on IPv4', async t => {
    const network = ['unshare', '-rn', 'sh', '-c', 'ip link set lo up && exec "$0" "$@"']
    const can = await promisify(execFile)(network[0], [...network.slice(1), 'true']).catch(() => null)
    if (!can) return t.skip('this system lets us have no network namespace')
    for (const listen of ['127.0.0.1:4801', '[::1]:4801']) {
      const d = await daemon(t, ['--listen', listen], { prefix: network, expect: [/QUIC cannot be seen/] })
      const inside = ['nsenter', '-t', `${d.pid}`, '-U', '-n', '--preserve-credentials', program]
      const p = introspect(t, ['--json', '--count', '1'], { command: inside })
      assert.deepEqual(await p.end, { code: 0, signal: null, errors: [] })
      assert.equal(p.lines().length, 1)
      await d.stop()
    }
  })

  // In a network of its own, whose only name server takes questions and gives no answers.
  test('is ended by Ctrl-C at once while a name is looked up', async t => {
    const path = folder(t)
    const enter = ['unshare', '-rnm', 'sh', '-c', `ip link set lo up && mount --bind ${path}/resolv.conf /etc/resolv.conf && exec "$0" "$@"`]
    writeFileSync(join(path, 'resolv.conf'), 'nameserver 127.0.0.1\noptions timeout:30 attempts:1\n')
    const can = await promisify(execFile)(enter[0], [...enter.slice(1), 'true']).catch(() => null)
    if (!can) return t.skip('this system lets us have no network namespace')
    writeFileSync(join(path, 'silent.mjs'), `
      import { spawn } from 'node:child_process'
      import { createSocket } from 'node:dgram'
      const s = createSocket('udp4', () => {
        console.error('asked')
        s.removeAllListeners('message')
      }).bind(53, '127.0.0.1', () => {
        const child = spawn(process.argv[2], process.argv.slice(3), { stdio: 'inherit' })
        console.error('pid ' + child.pid)
        child.on('exit', (code, signal) => { console.error('ended by ' + signal); process.exit() })
      })`)
    const p = introspect(t, [join(path, 'silent.mjs'), program, '--json', 'node.example'], { command: [...enter, process.execPath] })
    await p.told(/^asked$/)
    const start = performance.now()
    process.kill(Number((await p.told(/^pid /)).slice(4)), 'SIGINT')
    assert.equal(await p.told(/^ended by/), 'ended by SIGINT')
    assert.ok(performance.now() - start < 15000, 'it did not wait for the name server')
    assert.deepEqual((await p.end).errors.filter(line => !/^(pid|asked|ended)/.test(line)), [])
  })

  test('waits for a daemon when told to', async t => {
    const path = join(folder(t), 's')
    const p = introspect(t, ['--json', '--wait', '--count', '1', path])
    await p.told(/No such file or directory; trying again$/)
    await own(t, ['--listen', path])
    assert.equal((await p.end).code, 0)
    assert.deepEqual(p.errors.slice(1), [`introspect: connected to ${path}`])
    assert.equal(p.lines().length, 1)
  })

  test('says why there is no connection', async t => {
    const path = join(folder(t), 's')
    const http = status => `HTTP/1.1 ${status}\r\nContent-Length: 0\r\n\r\n`
    let d
    for (const limit of ['--max-per-address', '--max-clients']) {
      d = await daemon(t, ['--pid', `${process.pid}`, limit, '1'], { expect: [/^watching /, /^refused status=503 /] })
      await introspect(t, ['--json', d.host]).printed(1)
      const full = await introspect(t, ['--json', d.host]).end
      assert.equal(full.code, 1)
      assert.match(full.errors[0], new RegExp(`refuses: "503 Service Unavailable: .* ${limit} allows; try again later"$`))
    }
    for (const [address, why] of [
      [path, /s: No such file or directory$/],
      [await answering(t, null), /closed the connection without an answer: if it speaks TLS, use wss:\/\/$/],
      [await answering(t, 'SSH-2.0-OpenSSH_9.2\r\n\r\n'), /is not a WebSocket server$/],
      [await answering(t, http('404 Not Found')), /answers HTTP 404: is it an introspectd\?$/],
      [await answering(t, http('403 Forbidden').replace('0\r\n\r\n', '4\r\n\r\n403 not \x1b[31m you\nmore')),
        /refuses: "403 not \\x1b\[31m you"$/],
      [await answering(t, 'HTTP/1.1 301 Moved Permanently\r\nlocation: https://node.example/\x07\r\n\r\n'), /is not a WebSocket server$/],
      [await answering(t, 'HTTP/1.1 301 Moved Permanently\r\nlocation: https://node.example/n/\r\n\r\n'),
        /has moved \(301\): use the address "https:\/\/node\.example\/n\/"$/],
      [await answering(t, http('307 Temporary Redirect')), /answers HTTP 307: is it an introspectd\?$/],
      [await answering(t, http('200 OK')), /answers with a page \(200\): does a proxy before it pass Upgrade on\?$/],
      ...await Promise.all([502, 503, 504].map(async status =>
        [await answering(t, http(`${status} x`)), new RegExp(`is a proxy that reaches no daemon \\(${status}\\)$`)])),
      [`ws://${d.host}/nothing`, /refuses: "404 Not Found: no WebSocket at this path; there is one at \/ and at \/introspect"$/],
      [await answering(t, http('401 Unauthorized')), /wants a token: see --token-file \(401\)/],
      [await answering(t, http('101 Switching Protocols')), /is not a WebSocket server$/],
      ['ws://[fe80::1%25nozone]:4801/', /: fe80::1%nozone: ./],
      ['nobody.invalid', /nobody\.invalid: ./]
    ]) {
      const { code, errors } = await introspect(t, ['--json', address]).end
      assert.equal(code, 1)
      assert.equal(errors.length, 1)
      assert.match(errors[0], why)
      assert.match(errors[0], /^introspect: no connection: /)
    }
  })

  test('a host name that the daemon does not answer to: the option that helps', async t => {
    const address = await answering(t, 'HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n')
    const { code, errors } = await introspect(t, ['--json', address.replace('127.0.0.1', 'localhost')]).end
    assert.equal(code, 1)
    assert.match(errors[0], /use its IP address, or start introspectd with --allow-host localhost$/)
  })
})

describe('introspect refuses', () => {
  const varint = n => n < 128 ? [n] : [n % 128 + 128, ...varint(Math.floor(n / 128))]
  const field = (number, bytes) => Buffer.concat([Buffer.from(varint(number * 8 + 2)), Buffer.from(varint(bytes.length)), bytes])
  // Connections relayed over one another; and very many small messages.
  let nested = Buffer.alloc(0)
  for (let i = 0; i < 1000; i++) nested = field(17, nested)
  const many = Buffer.alloc(2 << 20, field(1, Buffer.alloc(0)))
  const state = bytes => field(2, bytes)

  for (const [what, messages, close, why, options = []] of [
    ['a snapshot that was not asked for', [encode({}), encode({})], 1008, /sent a snapshot that was not asked for; trying again$/, ['--interval', '9']],
    ['text', ['{}'], 1008, /sent text, not a snapshot$/],
    ['a damaged snapshot', [Buffer.from([0x12, 5, 1])], 1007, /sent a damaged message: at byte 1: value runs past the end/],
    ['strings that are not UTF-8', [state(field(100, field(1, Buffer.from([0xff]))))], 1007, /damaged message: at byte \d+: string is not UTF-8$/],
    ['messages nested without end', [state(field(1, field(1, nested)))], 1007, /damaged message: at byte \d+: messages are nested too deep$/],
    ['a message that grows without measure', [state(field(1, many))], 1007, /takes too much memory to decode$/],
    ['a message without a state', [Buffer.alloc(0)], 1007, /sent a message that holds no state$/],
    ['a message over the limit', [encode({ runtime: { version: 'x'.repeat(1000) } })], 1009, /sent more than 1000 bytes \(see --max-message\)$/, ['--max-message', '1000']]
  ]) {
    test(what, async t => {
      const s = await server(t, socket => messages.forEach(message => socket.send(message)))
      const p = introspect(t, ['--json', ...options, s.name])
      await p.told(why)
      if (!s.closes.length) await once(s, 'closed')
      assert.equal(s.closes[0], close)
      assert.match(p.errors[0], /^introspect: (no connection: )?127\.0\.0\.1:\d+: /)
    })
  }

  for (const [what, frame, code] of [
    ['a masked frame', [0x82, 0x80, 1, 2, 3, 4], 1002],
    ['a reserved bit', [0xc2, 0], 1002],
    ['a close code that does not exist', [0x88, 2, 0, 1], 1002]
  ]) {
    test(what, async t => {
      const s = await server(t, socket => socket._socket.write(Buffer.from(frame)))
      const { code: status, errors } = await introspect(t, ['--json', s.name]).end
      assert.equal(status, 1)
      assert.match(errors[0], /broke the WebSocket protocol$/)
      if (!s.closes.length) await once(s, 'closed')
      assert.equal(s.closes[0], code)
    })
  }

  test('a close reason cannot play tricks on the terminal', async t => {
    const s = await server(t, socket => socket.close(4000, 'bye \x1b[2J'))
    const { errors } = await introspect(t, ['--json', s.name]).end
    assert.match(errors[0], /closed the connection \(4000, "bye \\x1b\[2J"\)$/)
    if (!s.closes.length) await once(s, 'closed')
    assert.deepEqual(s.closes, [4000])
  })
})

describe('introspect on the command line', () => {
  for (const [args, why] of [
    [['--count', '0'], '--count 0: needs a number from 1'],
    [['--duration', 'x'], '--duration x: needs seconds'],
    [['--interval', '-1'], '--interval -1: needs seconds'],
    [['--max-message', '0'], '--max-message 0: needs bytes from 1 to 4294967295'],
    [['--json', '--record', 'x'], '--record x: there is another --json, --events or --record'],
    [['a', 'b'], 'b: only one address'],
    [['host:0'], 'host:0: what follows the host is not a port from 1 to 65535'],
    [['host:65536'], 'host:65536: what follows the host is not a port from 1 to 65535'],
    [['host:1x'], 'host:1x: what follows the host is not a port from 1 to 65535'],
    [[':1'], ':1: the host is missing'],
    [['[::1'], "[::1: the ']' is missing"],
    [['4801'], '4801: a number is no host: put 127.0.0.1: before a port'],
    [['ws://4801/'], 'ws://4801/: a number is no host: put 127.0.0.1: before a port'],
    [['::1:4801'], '::1:4801: an IPv6 address with a port is written as [::1]:4801, one without as [::1]'],
    [['2001:db8::7:4801'], '2001:db8::7:4801: an IPv6 address with a port is written as [::1]:4801, one without as [::1]'],
    [['ws://user:pass@node.example/'], 'ws://user:pass@node.example/: user and password are not shown to a daemon: see --token-file'],
    [['ws://127.0.0.1:x?y=1'], 'ws://127.0.0.1:x?y=1: what follows the host is not a port from 1 to 65535'],
    [['--force'], '--force goes with --record'],
    [['-f', '--json'], '--force goes with --record'],
    [['--ca', 'x'], '--ca, --insecure and --tls-cert go with a wss:// address'],
    [['--ca', 'x', '127.0.0.1'], '--ca, --insecure and --tls-cert go with a wss:// address'],
    [['--insecure', 'ws://127.0.0.1'], '--ca, --insecure and --tls-cert go with a wss:// address'],
    [['--tls-cert', 'x', '--tls-key', 'y'], '--ca, --insecure and --tls-cert go with a wss:// address'],
    [['--tls-cert', 'x', 'wss://127.0.0.1'], '--tls-cert and --tls-key go together'],
    [['--tls-key', 'x', 'wss://127.0.0.1'], '--tls-cert and --tls-key go together'],
    [['--insecure', '--ca', 'x', 'wss://127.0.0.1'], 'only one of --ca and --insecure'],
    [['--lisen'], '--lisen: no such option, or more than one that begins so: see --help'],
    [['ftp://host/'], 'ftp://host/: not a ws:// or wss:// URL'],
    [['ws://host/a b'], 'ws://host/a b: the URL has a character that no URL has'],
    [['/' + 'x'.repeat(200)], `/${'x'.repeat(200)}: the path is too long for a Unix socket`],
    [['x'.repeat(300)], `${'x'.repeat(300)}: the host is too long`]
  ]) {
    test(`introspect ${args.join(' ').slice(0, 40)}`, async t => {
      assert.deepEqual(await introspect(t, args).end,
        { code: 2, signal: null, errors: [`introspect: ${why}`] })
    })
  }

  test('the man page has every option of --help, and every exit status', async t => {
    const { stdout } = await promisify(execFile)(program, ['--help'])
    const page = readFileSync(join(root, 'dist/introspect.1'), 'utf8')
    const options = [...stdout.matchAll(/^ +(?:-\w, )?--([a-z-]+)/gm)].map(([, option]) => option)
    assert.ok(options.length >= 10)
    for (const option of options) assert.match(page, new RegExp(`^\\.It .*Fl \\\\-${option}\\b`, 'm'))
    for (const [, status] of stdout.slice(stdout.indexOf('Exit')).matchAll(/\b(\d) [a-z]/g)) {
      assert.match(page, new RegExp(`^\\.It ${status}$`, 'm'))
    }
    assert.match((await promisify(execFile)(program, ['--version'])).stdout, /^introspect \d+\.\d+\.\d+\n$/)
  })
})
