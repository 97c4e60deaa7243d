// introspect --events: what it prints of the events that a daemon pushes, and how
// it ends.
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { connect, createServer } from 'node:net'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import test from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { WebSocketServer } from 'ws'
import { build, daemon, schema, ServerMessage, until } from './daemon.mjs'
import { checksum, encoded, uint32 } from './recording.mjs'

const Command = schema.lookupType('introspection.ClientCommand')
const properties = [{ name: 'n', type: 'NUMBER' }, { name: 'peers', type: 'PEERID', hasMultiple: true }]

function introspect (t, args) {
  const child = spawn(join(build, 'introspect'), ['--events', ...args], { stdio: ['ignore', 'pipe', 'pipe'] })
  const p = { child, events: [], errors: [] }
  createInterface({ input: child.stderr }).on('line', line => { p.errors.push(line); child.emit('told') })
  p.read = () => createInterface({ input: child.stdout }).on('line', line => {
    p.events.push(JSON.parse(line))
    child.emit('printed')
  })
  p.printed = n => until(child, 'printed', () => p.events.length >= n && p.events)
  p.told = pattern => until(child, 'told', () => p.errors.find(line => pattern.test(line)))
  p.end = once(child, 'close').then(([code, signal]) => ({ code, signal, errors: p.errors }))
  t.after(async () => { child.kill('SIGKILL'); await p.end })
  return p
}

function watch (t, args) {
  const p = introspect(t, args)
  p.read()
  return p
}

// A daemon whose node is the test, on its standard input.
async function fedDaemon (t, options = []) {
  const d = await daemon(t, ['--feed', '-', ...options],
    { stdin: 'pipe', expect: [/^feed_(dis)?connected/] })
  d.event = (n, { name = 'Test', propertyTypes, padding = '' } = {}) => d.child.stdin.write(
    ServerMessage.encodeDelimited(ServerMessage.fromObject({
      event: { type: { name, propertyTypes }, ts: n, content: JSON.stringify({ n, padding }) }
    })).finish())
  return d
}

// Makes events until one is printed: from then on none is missed.
async function subscribed (p, make) {
  const printed = until(p.child, 'printed', () => p.events.length > 0)
  const timer = setInterval(make, 50)
  make()
  await printed.finally(() => clearInterval(timer))
}

function frame (message, { version = 1, sum, length } = {}) {
  const bytes = encoded(message)
  return Buffer.concat([uint32(version, sum ?? checksum(bytes), length ?? bytes.length), bytes])
}

const event = n => frame({ event: { type: { name: 'E' }, ts: n, content: '{}' } })
const ok = id => frame({ response: { id, result: 'OK' } })

// A server written by others. act(socket, command, n) is called for every command
// of its n-th connection.
async function server (t, act) {
  const s = new WebSocketServer({ host: '127.0.0.1', port: 0, perMessageDeflate: false })
  await once(s, 'listening')
  s.commands = []
  s.closes = []
  let connections = 0
  s.on('connection', (socket, request) => {
    const n = ++connections
    s.path = request.url
    socket.on('message', (data, binary) => {
      assert.ok(binary)
      const command = Command.toObject(Command.decode(data), { enums: String, longs: Number, defaults: true })
      s.commands.push(command)
      act(socket, command, n)
    })
    socket.on('close', code => { s.closes.push(code); s.emit('closed') })
  })
  t.after(() => { s.clients.forEach(c => c.terminate()); s.close() })
  s.name = `127.0.0.1:${s.address().port}`
  s.closed = n => until(s, 'closed', () => s.closes.length >= n && s.closes)
  return s
}

test('events of a node, as JSON lines; the properties with the first of a type', async t => {
  const d = await fedDaemon(t)
  const p = watch(t, [d.host])
  await subscribed(p, () => d.event(0, { name: 'First' }))
  d.event(1, { propertyTypes: properties })
  d.event(2, { propertyTypes: properties })
  d.event(3, { name: 'Other' })
  d.event(4, { padding: '"\\\n\u00e9' })
  await until(p.child, 'printed', () => p.events.at(-1).ts === '4')
  const content = (n, padding = '') => JSON.stringify({ n, padding })
  assert.deepEqual(p.events.slice(-4), [
    { type: { name: 'Test', propertyTypes: properties }, ts: '1', content: content(1) },
    { type: { name: 'Test' }, ts: '2', content: content(2) },
    { type: { name: 'Other' }, ts: '3', content: content(3) },
    { type: { name: 'Test' }, ts: '4', content: content(4, '"\\\n\u00e9') }
  ])
  assert.deepEqual(p.errors, [])
})

test('a real connection opens and closes: who, and how many bytes', async t => {
  const d = await daemon(t, ['--pid', `${process.pid}`, '--interval', '500'], { expect: [/^watching /] })
  const p = watch(t, [d.host])
  const listener = createServer(socket => socket.end(Buffer.alloc(777)).resume()).listen(0, '127.0.0.1')
  t.after(() => listener.close())
  await once(listener, 'listening')
  const { port } = listener.address()
  const dial = () => {
    const socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true }).resume()
    t.after(() => socket.destroy())
    return socket
  }
  await subscribed(p, dial)

  const socket = dial()
  await once(socket, 'end')
  socket.write(Buffer.alloc(12345))
  const near = `/ip4/127.0.0.1/tcp/${socket.localPort}`
  const far = `/ip4/127.0.0.1/tcp/${port}`
  const ends = { INITIATOR: [near, far], RESPONDER: [far, near] }
  const contents = type => Object.entries(ends).map(([role, [local, remote]]) =>
    p.events.filter(e => e.type.name === type).map(e => JSON.parse(e.content))
      .find(c => c.role === role && c.local === local && c.remote === remote))
  const both = type => until(p.child, 'printed', () => !contents(type).includes(undefined) && contents(type))

  const opened = await both('ConnectionOpened')
  const names = ['connection', 'local', 'remote', 'role']
  for (const content of opened) assert.deepEqual(Object.keys(content), names)
  assert.deepEqual(p.events[0].type.propertyTypes.map(p => p.name), names)
  socket.end()
  const closed = await both('ConnectionClosed')
  assert.deepEqual(closed, [{ ...opened[0], bytesIn: 777, bytesOut: 12345 },
    { ...opened[1], bytesIn: 12345, bytesOut: 777 }])
})

test('what it says to a server: HELLO, then that it wants events', async t => {
  const s = await server(t, (socket, { id }) => {
    socket.send(ok(id))
    if (id === 2) socket.send(event(5))
  })
  const p = watch(t, ['--count', '1', s.name])
  assert.deepEqual(await p.end, { code: 0, signal: null, errors: [] })
  assert.equal(p.events[0].ts, '5')
  assert.equal(s.path, '/introspect')
  assert.deepEqual(s.commands.map(({ id, command, source }) => [id, command, source]),
    [[1, 'HELLO', 'EVENTS'], [2, 'PUSH_ENABLE', 'EVENTS']])
  assert.deepEqual(await s.closed(1), [1000])
})

for (const [name, bytes, reason] of [
  ['a wrong checksum', frame({ event: {} }, { sum: 1 }), 'a wrong version, checksum or length'],
  ['a wrong version', frame({ event: {} }, { version: 2 }), 'a wrong version, checksum or length'],
  ['a wrong length', frame({ event: {} }, { length: 3 }), 'a wrong version, checksum or length'],
  ['half a header', Buffer.alloc(11), 'cut off'],
  ['nothing', Buffer.alloc(0), 'cut off'],
  ['no message behind the header', frame({ event: { type: { name: 'x' } } }).fill(0xff, 12), 'checksum'],
  ['bytes that are no message', Buffer.concat([uint32(1, checksum([0xff]), 1), Buffer.from([0xff])]), 'damaged']]) {
  test(`a frame with ${name} is refused with 1007`, async t => {
    const s = await server(t, (socket, { id }) => { if (id === 2) socket.send(bytes) })
    const p = watch(t, [s.name])
    const { code, errors } = await p.end
    assert.equal(code, 1)
    assert.equal(errors.length, 1)
    assert.match(errors[0], new RegExp(`^introspect: no connection: ${s.name}: sent .*${reason}`))
    assert.deepEqual(await s.closed(1), [1007])
  })
}

test('a refused command ends it', async t => {
  const s = await server(t, (socket, { id }) => {
    socket.send(frame({ response: { id, result: 'ERR', error: 'no' } }))
  })
  const p = watch(t, [s.name])
  assert.deepEqual(await p.end, { code: 1, signal: null, errors: [`introspect: ${s.name}: a command was refused`] })
})

test('a notice is a line on stderr, and events go on', async t => {
  const s = await server(t, (socket, { id }) => {
    socket.send(ok(id))
    if (id !== 2) return
    socket.send(event(1))
    socket.send(frame({ notice: { kind: 'DISCARDING_EVENTS' } }))
    socket.send(event(2))
  })
  const p = watch(t, ['--count', '2', s.name])
  assert.deepEqual(await p.end, {
    code: 0, signal: null, errors: ['introspect: there were too many events: some have been dropped']
  })
  assert.deepEqual(p.events.map(e => e.ts), ['1', '2'])
})

test('a lost connection is told, opened again and asked for events again', async t => {
  const s = await server(t, (socket, { id }, n) => {
    socket.send(ok(id))
    if (id === 2) socket.send(event(n))
    if (id === 2 && n === 1) socket.close(1001)
  })
  const p = watch(t, ['--count', '2', s.name])
  assert.deepEqual(await p.end, {
    code: 0,
    signal: null,
    errors: [`introspect: ${s.name}: closed the connection (1001, going away); trying again`,
      `introspect: connected to ${s.name}`]
  })
  assert.deepEqual(p.events.map(e => e.ts), ['1', '2'])
  assert.deepEqual(s.commands.map(c => c.id), [1, 2, 1, 2])
})

test('exit statuses: nobody there, time over with and without what was asked for', async t => {
  const s = await server(t, (socket, { id }) => socket.send(ok(id)))
  const [enough, missing] = [[], ['--count', '1']].map(options => watch(t, ['--duration', '6', ...options, s.name]).end)
  assert.deepEqual(await enough, { code: 0, signal: null, errors: [] })
  assert.deepEqual(await missing, { code: 3, signal: null, errors: ['introspect: the time is over'] })
  const { code, errors } = await watch(t, ['127.0.0.1:1']).end
  assert.equal(code, 1)
  assert.match(errors.join(), /^introspect: no connection: 127\.0\.0\.1:1: Connection refused$/)
  assert.equal((await watch(t, ['--json', s.name]).end).code, 2)
  const p = watch(t, [s.name])
  await once(s, 'connection')
  p.child.kill('SIGINT')
  assert.equal((await p.end).signal, 'SIGINT')
})

const ticks = pid => {
  const fields = readFileSync(`/proc/${pid}/stat`, 'latin1').split(') ')[1].split(' ')
  return Number(fields[11]) + Number(fields[12])
}

test('who does not read it makes it wait, not spin, and gets all in the end', async t => {
  const d = await fedDaemon(t)
  const p = introspect(t, [d.host])
  const first = once(p.child.stdout, 'readable')
  const timer = setInterval(() => d.event(0), 50)
  await first.finally(() => clearInterval(timer))
  for (let n = 1; n <= 40; n++) d.event(n, { padding: 'x'.repeat(8000) })   // more than a pipe holds
  let before
  for (let last = -1; (before = ticks(p.child.pid)) !== last; last = before) await delay(200)
  await delay(1000)
  const used = ticks(p.child.pid) - before
  assert.ok(used < 5, `${used} ticks in a second`)
  p.read()
  await until(p.child, 'printed', () => p.events.at(-1)?.ts === '40')
  assert.deepEqual(p.events.map(e => Number(e.ts)).filter(n => n > 0), Array.from({ length: 40 }, (_, i) => i + 1))
})
