// The feed source: this process is the libp2p node, the daemon is the real one.
import assert from 'node:assert/strict'
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync, statSync, writeFileSync } from 'node:fs'
import net from 'node:net'
import { join } from 'node:path'
import test from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { commandClient } from './command-client.mjs'
import { build, client, daemon, folder, schema, ServerMessage, until } from './daemon.mjs'

const State = schema.lookupType('introspection.State')
const INTERVAL = 50
const comings = [/^feed_connected$/, /^feed_disconnected$/]

const stateOf = peerId => ({ state: { instantTs: Date.now(), subsystems: { connections: [{ peerId }] } } })
// With all that the daemon would put in.
const traffic = { trafficIn: { cumBytes: 1 }, trafficOut: {} }
const completeState = peerId => ({
  instantTs: Date.now(),
  subsystems: { connections: [{ peerId, timeline: {}, traffic, streams: {} }], dht: { params: {}, buckets: [{}] } }
})
const delimited = message => ServerMessage.encodeDelimited(ServerMessage.fromObject(message)).finish()
const peerOf = snapshot => snapshot.state.subsystems.connections[0].peerId

async function feedDaemon (t, { options = [], expect = [] } = {}) {
  const path = join(folder(t), 'feed')
  const d = await daemon(t, ['--feed', path, '--interval', `${INTERVAL}`, ...options],
    { expect: [...comings, ...expect] })
  await fetch(`${d.url}healthz`)   // answered by the loop, which begins when the feed is open
  return { d, path }
}

// A node: how often it was asked, and an event for each time.
async function connect (t, path) {
  const socket = net.connect(path)
  const node = { socket, asked: 0 }
  socket.on('data', bytes => {
    assert.match(bytes.toString(), /^r+$/)
    node.asked += bytes.length
    socket.emit('asked')
  })
  socket.on('error', () => {})
  node.closed = once(socket, 'close')
  node.send = message => socket.write(delimited(message))
  node.askedFor = n => until(socket, 'asked', () => node.asked >= n)
  t.after(() => socket.destroy())
  await once(socket, 'connect')
  return node
}

test('a state reaches the client as the node encoded it', async t => {
  const { d, path } = await feedDaemon(t)
  const node = await connect(t, path)
  node.send({ runtime: { implementation: 'test', peerId: 'me', source: 'a lie', intervalMs: 7 } })
  const c = await client(t, d.ws)
  await node.askedFor(1)
  // field 1000 is one that no schema has yet
  const bytes = Buffer.concat([State.encode(State.fromObject(completeState('peer'))).finish(),
    Buffer.from('c23e0301ff00', 'hex')])
  const runtime = Buffer.from('a206020a00', 'hex'), sequence = Buffer.from('a80663', 'hex')
  const inner = Buffer.concat([sequence, bytes, runtime])
  node.socket.write(Buffer.concat([Buffer.from([inner.length + 2, 0x12, inner.length]), inner]))
  const snapshot = await c.received(1)
  assert.notEqual(c.raw[0].indexOf(bytes), -1)
  assert.equal(Number(snapshot.state.sequence), 1)
  const { implementation, peerId, source, intervalMs } = snapshot.state.runtime
  assert.deepEqual({ implementation, peerId, source, intervalMs },
    { implementation: 'test', peerId: 'me', source: 'feed', intervalMs: INTERVAL })
})

test('the node is asked only when a client is due a snapshot', async t => {
  const { d, path } = await feedDaemon(t)
  const node = await connect(t, path)
  await delay(4 * INTERVAL)
  assert.equal(node.asked, 0)
  const c = await client(t, d.ws)
  await node.askedFor(1)
  node.send(stateOf('1'))
  await c.received(1)
  await delay(4 * INTERVAL)
  assert.equal(node.asked, 1)
  for (let i = 2; i < 6; i++) {
    c.ready()
    await node.askedFor(i)
    assert.equal(c.snapshots.length, i - 1)
    node.send(stateOf(`${i}`))
    assert.equal(peerOf(await c.received(i)), `${i}`)
  }
  assert.equal(node.asked, 5)
  assert.deepEqual(c.sequences(), [1, 2, 3, 4, 5])
})

test('of a node on its own clock the newest state counts', async t => {
  const { d, path } = await feedDaemon(t)
  const node = await connect(t, path)
  const c = await client(t, d.ws)
  node.socket.write(Buffer.concat(['a', 'b', 'c'].map(peer => delimited(stateOf(peer)))))
  assert.equal(peerOf(await c.received(1)), 'c')
})

test('of a node on its own clock the newest state comes at once, however old', async t => {
  const { d, path } = await feedDaemon(t)
  const node = await connect(t, path)
  const c = await client(t, d.ws)
  const times = []
  for (let i = 1; i <= 6; i++) {
    await node.askedFor(i)
    node.send(stateOf(`${i}`))
    assert.equal(peerOf(await c.received(2 * i - 1)), `${i}`)
    // two that nobody asked for, and only then somebody is ready
    node.send(stateOf('unasked'))
    node.send(stateOf('newest'))
    await delay(2 * INTERVAL)
    const begin = performance.now()
    c.ready()
    assert.equal(peerOf(await c.received(2 * i)), 'newest')
    times.push(performance.now() - begin)
    c.ready()
  }
  // a second, if it waited for one that is fresh; on a busy machine not each has to be quicker
  assert.ok(Math.min(...times) < 500, `${times} ms`)
})

test('a state comes in byte by byte while another client is served', async t => {
  const { d, path } = await feedDaemon(t)
  const node = await connect(t, path)
  const c = await client(t, d.ws)
  node.socket.setNoDelay(true)
  for (const byte of delimited(stateOf('slow'))) {
    node.socket.write(Buffer.from([byte]))
    c.socket.ping()
    await once(c.socket, 'pong')
  }
  assert.equal(peerOf(await c.received(1)), 'slow')
})

test('a second node is refused, the first goes on', async t => {
  const { d, path } = await feedDaemon(t, { expect: [/^feed_refused reason="another node is connected"$/] })
  const first = await connect(t, path)
  first.send(stateOf('first'))
  const c = await client(t, d.ws)
  assert.equal(peerOf(await c.received(1)), 'first')
  for (let i = 0; i < 3; i++) {   // it tries again and again, which is logged once
    const second = await connect(t, path)
    await second.closed
  }
  await d.line(/^feed_refused/)
  c.ready()
  await first.askedFor(1)
  first.send(stateOf('first again'))
  assert.equal(peerOf(await c.received(2)), 'first again')
  assert.equal(d.lines.filter(line => /^feed_refused/.test(line)).length, 1)
  first.socket.destroy()
  await d.line(/^feed_disconnected/)
  c.ready()
  const third = await connect(t, path)
  await third.askedFor(1)
  third.send(stateOf('third'))
  assert.equal(peerOf(await c.received(3)), 'third')
})

test('clients see nothing of a restart of the node but the pause', async t => {
  const { d, path } = await feedDaemon(t)
  let node = await connect(t, path)
  node.send({ runtime: { peerId: 'me' } })
  const c = await client(t, d.ws)
  for (let i = 1; i < 5; i++) {
    await node.askedFor(1)
    node.send(stateOf(`${i}`))
    assert.equal((await c.received(i)).state.runtime.peerId, 'me')
    c.ready()
    node.socket.destroy()
    node = await connect(t, path)
  }
  assert.deepEqual(c.sequences(), [1, 2, 3, 4])
  assert.equal(c.socket.readyState, c.socket.OPEN)
})

test('the last snapshot stays when the node is gone', async t => {
  const { d, path } = await feedDaemon(t)
  const node = await connect(t, path)
  node.send(stateOf('last'))
  const c = await client(t, d.ws)
  await c.received(1)
  node.socket.destroy()
  await d.line(/^feed_disconnected/)
  await delay(2 * INTERVAL)
  // none of them waits the second that a fresh one is given to come
  const times = []
  for (let i = 0; i < 10; i++) {
    const late = await client(t, d.ws)
    const begin = performance.now()
    assert.equal(peerOf(await late.received(1)), 'last')
    times.push(performance.now() - begin)
  }
  assert.ok(Math.min(...times) < 500, `${times} ms`)
})

test('bad input closes the feed with a line that says where, and nothing else', async t => {
  const good = delimited(stateOf('good'))
  const rows = [
    [Buffer.from('ffffffffffffffffffff', 'hex'), 'in_message=0 reason="length is not a varint"'],
    [Buffer.from('ffffffff0f', 'hex'), 'length=4294967295 reason="message is over --max-snapshot 4096"'],
    [Buffer.from('022a00', 'hex'), 'in_message=0 reason="payload is not state, runtime or event"'],
    [Buffer.from('051a030a01ff', 'hex'), 'in_message=4 reason="string is not UTF-8"'],
    [Buffer.from('0312017b', 'hex'), 'in_message=2 reason="wire type is a group or unknown"'],
    [Buffer.from('GET / HTTP/1.1\r\n\r\n'.padEnd(100)), /in_message=\d+ reason="/]
  ]
  const { d, path } = await feedDaemon(t,
    { options: ['--max-snapshot', '4096'], expect: [/^feed_closed offset=\d+ /] })
  const c = await client(t, d.ws)
  for (const [bytes, said] of rows) {
    const node = await connect(t, path)
    d.lines.length = 0
    const n = c.snapshots.length
    await node.askedFor(1)
    node.socket.write(Buffer.concat([good, bytes]))
    assert.equal(peerOf(await c.received(n + 1)), 'good')
    await node.closed
    const line = await d.line(/^feed_closed/)
    assert.ok(line.startsWith(`feed_closed offset=${good.length} `), line)
    assert.match(line, said instanceof RegExp ? said : new RegExp(`${said}$`))
    c.ready()
  }
  assert.equal(c.socket.readyState, c.socket.OPEN)
})

test('random bytes never harm the daemon', async t => {
  const { d, path } = await feedDaemon(t, { expect: [/^feed_closed offset=\d+ .*reason="/] })
  let seed = 1
  const random = () => (seed = (Math.imul(seed, 1103515245) + 12345) >>> 0) >>> 16
  for (let i = 0; i < 200; i++) {
    const node = await connect(t, path)
    node.socket.end(Buffer.from(Array.from({ length: random() % 300 }, random)))
    await node.closed
  }
  const node = await connect(t, path)
  node.send(stateOf('alive'))
  assert.equal(peerOf(await (await client(t, d.ws)).received(1)), 'alive')
})

test('standard input', async t => {
  const d = await daemon(t, ['--feed', '-', '--interval', `${INTERVAL}`], { stdin: 'pipe', expect: comings })
  const c = await client(t, d.ws)
  d.child.stdin.write(delimited({ runtime: { peerId: 'piped' } }))
  for (const peer of ['1', '2']) {
    d.child.stdin.write(delimited(stateOf(peer)))
    const snapshot = await c.received(Number(peer))
    assert.equal(peerOf(snapshot), peer)
    assert.equal(snapshot.state.runtime.peerId, 'piped')
    c.ready()
  }
  d.child.stdin.end()
  await d.line(/^feed_disconnected/)
  await delay(2 * INTERVAL)
  assert.equal(peerOf(await (await client(t, d.ws)).received(1)), '2')
  assert.equal(d.lines.filter(line => line.startsWith('feed_')).length, 1)
})

test('standard input that turns bad', async t => {
  const d = await daemon(t, ['--feed', '-'], { stdin: 'pipe', expect: [/^feed_closed offset=\d+ /] })
  d.child.stdin.on('error', () => {})
  const good = delimited(stateOf('good'))
  d.child.stdin.write(Buffer.concat([good, Buffer.from('00', 'hex')]))
  await d.line(new RegExp(`^feed_closed offset=${good.length} `))
  assert.equal(peerOf(await (await client(t, d.ws)).received(1)), 'good')
})

test('mode of the socket, and its end', async t => {
  const { d, path } = await feedDaemon(t)
  assert.equal(statSync(path).mode & 0o777, 0o600)
  await d.stop()
  assert.throws(() => statSync(path), { code: 'ENOENT' })
  const { path: open } = await feedDaemon(t, { options: ['--feed-mode', '0666'] })
  assert.equal(statSync(open).mode & 0o777, 0o666)
})

test('a path that is taken', async t => {
  const { path } = await feedDaemon(t)
  const start = at => {
    const { status, stderr } = spawnSync(join(build, 'introspectd'),
      ['--listen', '127.0.0.1:0', '--feed', at], { encoding: 'utf8', timeout: 60000 })
    assert.equal(status, 1)
    return stderr
  }
  assert.match(start(path), /^error feed=\S+ reason="in use by another process"$/m)
  const file = join(folder(t), 'file')
  writeFileSync(file, 'kept')
  assert.match(start(file), /^error feed=\S+ reason="exists and is not a socket"$/m)
  assert.equal(statSync(file).size, 4)
  assert.match(start(`/tmp/${'x'.repeat(108)}`), /^error feed=\S+ reason="path over 107 bytes"$/m)

  // one that a killed process left behind is replaced
  const left = join(folder(t), 'left')
  const child = spawn(process.execPath,
    ['-e', 'require("net").createServer().listen(process.argv[1], () => console.log())', left])
  await once(child.stdout, 'data')
  child.kill('SIGKILL')
  await once(child, 'exit')
  assert.ok(statSync(left).isSocket())
  const d = await daemon(t, ['--feed', left], { expect: comings })
  await fetch(`${d.url}healthz`)
  await connect(t, left)
  await d.line(/^feed_connected/)
})

test('a connection that says nothing, or half of a message, does not keep a node out', async t => {
  for (const begins of ['', delimited(stateOf('half')).subarray(0, -1)]) {
    const { d, path } = await feedDaemon(t, { expect: [/^feed_closed reason="it said nothing in 5000 ms/] })
    const c = await client(t, d.ws)
    const squatter = await connect(t, path)
    if (begins) squatter.socket.write(begins)
    await d.line(/^feed_connected/)
    const node = await connect(t, path)
    node.send(stateOf('node'))
    assert.equal(peerOf(await c.received(1)), 'node')
    await squatter.closed
  }
})

test('types of events belong to the visit of a node: others leave room', async t => {
  const { d, path } = await feedDaemon(t, { expect: [/^event_dropped reason="over 64 event types/] })
  const c = await commandClient(t, d.ws)
  await c.ok('HELLO')
  await c.ok('PUSH_ENABLE', { source: 'EVENTS' })
  const names = () => c.events.map(({ type }) => type.name)
  const event = name => ({ event: { type: { name, propertyTypes: [{ name: 'peer' }] }, ts: 1, content: '{}' } })
  for (const [i, visit] of ['junk', 'other', 'third'].entries()) {
    const n = await connect(t, path)
    for (let k = 0; k < 80; k++) n.send(event(`${visit} ${k}`))
    await c.until(() => names().includes(`${visit} 63`))
    assert.equal(names().length, 64 * (i + 1))
    n.socket.destroy()
    await until(d.child, 'line', () => d.lines.filter(line => line.startsWith('feed_disconnected')).length > i)
  }
})

// CPU time in ms that so many events take while a paused client fills the history.
async function cpuOfEvents (t, idle) {
  const { d, path } = await feedDaemon(t, { options: ['--max-clients', '2000'] })
  const socketOf = async () => {
    const c = await commandClient(t, d.ws)
    await c.ok('HELLO')
    return c
  }
  for (let n = 0; n < idle; n += 50) await Promise.all(Array.from({ length: 50 }, socketOf))
  const c = await socketOf()
  await c.ok('PUSH_ENABLE', { source: 'EVENTS' })
  await c.ok('PUSH_PAUSE')
  const node = await connect(t, path)
  const pull = await client(t, d.ws)
  let states = 0
  const event = delimited({ event: { type: { name: 'x' }, ts: 1, content: '{}' } })
  const send = async count => {
    node.socket.write(Buffer.concat(Array(count).fill(event)))
    node.send(stateOf(`state ${++states}`))   // comes behind them
    while (peerOf(await pull.next()) !== `state ${states}`);
  }
  const used = () => {
    const fields = readFileSync(`/proc/${d.pid}/stat`, 'latin1').split(') ')[1].split(' ')
    return 10 * (Number(fields[11]) + Number(fields[12]))
  }
  await send(10000)   // the history is full from here on
  const before = used()
  for (let i = 0; i < 10; i++) await send(10000)
  return used() - before
}

test('an event costs no more for clients that do not read events', async t => {
  const few = await cpuOfEvents(t, 0)
  const many = await cpuOfEvents(t, 1000)
  assert.ok(many < 2 * few + 100, `${few} ms alone, ${many} ms with 1000 who do not read`)
  t.diagnostic(`${few} ms alone, ${many} ms with 1000 who do not read`)
})

test('a Runtime has at most 256 event types', async t => {
  const { d, path } = await feedDaemon(t, { expect: [/^feed_closed offset=0 in_message=0 reason="runtime has more than 256 event types"$/] })
  const runtimeOf = count => ({ runtime: { implementation: 'node', eventTypes: Array.from({ length: count }, (_, i) => ({ name: `${i}` })) } })
  const c = await commandClient(t, d.ws)
  await c.ok('HELLO')
  for (const [count, shown] of [[256, 256], [257, 256]]) {
    const n = await connect(t, path)
    n.send(runtimeOf(count))
    if (count === shown) {
      n.send(stateOf('node'))
      await (await client(t, d.ws)).received(1)
    } else {
      await n.closed
    }
    const before = c.runtimes.length
    c.send('REQUEST', { source: 'RUNTIME' })
    await c.until(() => c.runtimes.length > before)
    assert.equal(c.runtimes.at(-1).eventTypes.length, shown)
    n.socket.destroy()
    await until(d.child, 'line', () => d.lines.some(line => /^feed_(disconnected|closed)/.test(line)))
  }
})
