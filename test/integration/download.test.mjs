// introspect --past and --totals.
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { WebSocketServer } from 'ws'
import { build, daemon, folder, schema, ServerMessage } from './daemon.mjs'
import { encodeState, feedDaemon, node } from './feed-node.mjs'
import { bigState, recording } from './recording.mjs'

const REMEMBER = ['--interval', '10', '--remember', '1h', '--remember-every', '0.05']
const State = schema.lookupType('introspection.State')
const Ready = schema.lookupType('introspection.Ready')

// Runs introspect to its end.
async function introspect (t, ...args) {
  const child = spawn(join(build, 'introspect'), args, { stdio: ['ignore', 'pipe', 'pipe'] })
  const text = { stdout: '', stderr: '' }
  for (const name of ['stdout', 'stderr']) child[name].on('data', data => { text[name] += data })
  t.after(() => child.kill('SIGKILL'))
  const [code] = await once(child, 'close')
  return { code, ...text, lines: text.stdout.split('\n').slice(0, -1).map(line => JSON.parse(line)) }
}

async function rememberingDaemon (t) {
  const d = await feedDaemon(t, REMEMBER)
  const n = await node(t, d, () => encodeState(0, bigState(30)))
  await n.requested(4)
  n.socket.write(ServerMessage.encodeDelimited(ServerMessage.fromObject({
    event: { type: { name: 'Test' }, ts: 5, content: '{"n":1}' }
  })).finish())
  await n.requested(7)
  return d
}

// A server of HTTP that says this and closes.
async function saying (t, ...parts) {
  const server = createServer(socket => {
    socket.on('error', () => {}).once('data', () => {
      for (const part of parts) socket.write(part)
      socket.end()
    })
  })
  t.after(() => server.close())
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return `127.0.0.1:${server.address().port}`
}

const HEAD = 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n'
const chunk = bytes => Buffer.concat([Buffer.from(`${bytes.length.toString(16)}\r\n`), bytes, Buffer.from('\r\n')])
const file = recording({ runtime: { implementation: 'x' } }, { state: { sequence: 7 } }, { event: { content: '{}' } })

describe('introspect --past', () => {
  test('saves what the daemon remembers, which replays; prints it', async t => {
    const d = await rememberingDaemon(t)
    const path = join(folder(t), 'past.rec')
    const saved = await introspect(t, '--past', path, d.host)
    assert.equal(saved.code, 0)
    const [, count] = saved.stderr.match(/^introspect: snapshots recorded: (\d+)\n$/)
    assert.ok(Number(count) >= 5)
    const bytes = readFileSync(path)
    assert.equal(bytes.readUInt32LE(0), 1)
    const served = Buffer.from(await (await fetch(`${d.url}past`)).arrayBuffer())
    assert.ok(served.subarray(0, bytes.length).equals(bytes), 'the file is what was served')

    const { code, lines, stderr } = await introspect(t, '--past', '--json', d.host)
    assert.deepEqual([code, stderr], [0, ''])
    const states = lines.filter(line => line.sequence)
    assert.deepEqual(states.map(s => Number(s.sequence)), states.map((_, i) => i + 1))
    assert.equal(states[0].counts.connections, 24)
    assert.equal(states[0].subsystems.connections.length, 16)
    assert.deepEqual(lines.filter(line => line.type), [{ type: { name: 'Test' }, ts: '5', content: '{"n":1}' }])

    const again = await introspect(t, '--past', path, d.host)
    assert.deepEqual([again.code, again.stderr], [4, `introspect: ${path}: File exists (--force overwrites it)\n`])
    assert.equal((await introspect(t, '--past', path, '--force', d.host)).code, 0)
    await daemon(t, ['--replay', path], { expect: [/^replay/] })
  })

  test('--count is enough', async t => {
    const d = await rememberingDaemon(t)
    const { code, lines } = await introspect(t, '--past', '--json', '--count', '2', d.host)
    assert.deepEqual([code, lines.filter(line => line.sequence).length, lines.at(-1).sequence], [0, 2, '2'])
    const path = join(folder(t), 'past.rec')
    const saved = await introspect(t, '--past', path, '-n', '3', d.host)
    assert.deepEqual([saved.code, saved.stderr], [0, 'introspect: snapshots recorded: 3\n'])
  })

  test('--duration ends it at the end of a line', async t => {
    const all = recording(...Array(50).fill({ event: { content: 'x'.repeat(100000) } }))
    const address = await saying(t, HEAD, chunk(all), '0\r\n\r\n')
    const child = spawn(join(build, 'introspect'), ['--past', '--json', '--duration', '1', address], { stdio: ['ignore', 'pipe', 'pipe'] })
    t.after(() => child.kill('SIGKILL'))
    const end = once(child, 'close')
    child.stderr.resume()
    await once(child.stdout, 'readable')   // it runs, and waits for its reader
    await delay(1100)
    const text = (await child.stdout.toArray()).join('')
    assert.deepEqual(await end, [3, null])
    const lines = text.split('\n')
    assert.equal(lines.pop(), '')
    assert.ok(lines.length < 50)
    for (const line of lines) assert.equal(JSON.parse(line).content.length, 100000)
  })

  test('a daemon without --remember: what to do, and no file', async t => {
    const d = await feedDaemon(t)
    const path = join(folder(t), 'past.rec')
    const { code, stderr } = await introspect(t, '--past', path, d.host)
    assert.equal(code, 1)
    assert.match(stderr, /: remembers nothing: start introspectd with --remember\n/)
    assert.equal(existsSync(path), false)
  })

  test('an answer in chunks of any size, however it comes', async t => {
    const pieces = [...file].map(byte => chunk(Buffer.from([byte])))
    for (const parts of [[HEAD, chunk(file), '0\r\n\r\n'], [HEAD, ...pieces, '000\r\n\r\n'],
      // HAProxy writes sizes in capitals; extensions are to be ignored (RFC 9112 section 7.1.1).
      [HEAD, 'B\r\n', file.subarray(0, 11), `\r\n${(file.length - 11).toString(16)} ;a="1";b\r\n`, file.subarray(11), '\r\n0;last\r\n\r\n'],
      [HEAD.slice(0, 20), HEAD.slice(20), Buffer.concat([...pieces, Buffer.from('0\r\n\r\n')])]]) {
      const { code, lines } = await introspect(t, '--past', '-j', await saying(t, ...parts))
      assert.equal(code, 0)
      assert.deepEqual(lines, [{ sequence: '7' }, { content: '{}' }])
    }
  })

  const damaged = Buffer.from(file)
  damaged[20] ^= 1
  for (const [what, parts, code, pattern] of [
    ['is cut off', [HEAD, chunk(file)], 1, /no connection: \S+: broke the connection off\n$/],
    ['is cut off in a chunk', [HEAD, chunk(file).subarray(0, 30)], 1, /broke the connection off\n$/],
    ['has a chunk without a size', [HEAD, 'x\r\n'], 1, /sent a chunk without a size, or too large a one\n$/],
    ['has an empty line for a size', [HEAD, '\r\n\r\n'], 1, /sent a chunk without a size, or too large a one\n$/],
    ['has a chunk longer than its size', [HEAD, chunk(file), '1\r\nxy\r\n'], 1, /sent a chunk that is longer than its size\n$/],
    ['has a chunk without an end', [HEAD, 'ffffffffffffffffffff\r\n'], 1, /or too large a one\n$/],
    ['is too large', [HEAD, '100000\r\n', Buffer.alloc(0x100000)], 1, /sent more than 100000 bytes \(see --max-message\)|or too large a one\n$/],
    ['is not in chunks', ['HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n'], 1, /answers with no recording \(200\): is it an introspectd\?\n$/],
    ['is not HTTP', ['SSH-2.0-x\r\n\r\n'], 1, /no connection: \S+: is not a WebSocket server\n$/],
    ['is no recording', [HEAD, chunk(Buffer.from('hello')), '0\r\n\r\n'], 3, /: is no recording of version 1\n$/],
    ['is empty', [HEAD, '0\r\n\r\n'], 3, /: is no recording of version 1\n$/],
    ['ends within a message', [HEAD, chunk(file.subarray(0, -1)), '0\r\n\r\n'], 3, /: ends within a message\n$/],
    ['is damaged', [HEAD, chunk(damaged), '0\r\n\r\n'], 3, /: holds a message with a wrong checksum\n$/]
  ]) {
    test(`an answer that ${what}`, async t => {
      const limit = what === 'is too large' ? ['--max-message', '100000'] : []
      const ended = await introspect(t, '--past', '--json', ...limit, await saying(t, ...parts))
      assert.match(ended.stderr, pattern)
      assert.equal(ended.code, code)
    })
  }

  for (const [args, why] of [
    ...['127.0.0.1:4801', 'localhost:4801', '[::1]:4801', 'wss://node.example/'].flatMap(address => ['past', 'record'].map(option =>
      [[`--${option}`, address], `--${option} ${address}: an address: name a file first, then the address; a file of this name needs ./ before it`])),
    ...[[], ['--json'], ['--record', 'x']].map(more =>
      [[...more, 'ws://localhost/node/introspect'], 'what the address ends with, /introspect, goes with --events']),
    [['--past', 'x', '--json'], '--json: there is another --json, --events or --record'],
    [['--past', 'x', '--wait'], '--wait goes without --past'],
    [['--totals', '--events'], '--totals goes with --json or the live view'],
    [['--totals', '--past', '-j'], '--totals goes with --json or the live view']
  ]) {
    test(`introspect ${args.join(' ')}`, async t => {
      const { code, stderr } = await introspect(t, ...args)
      assert.deepEqual([code, stderr], [2, `introspect: ${why}\n`])
    })
  }
})

test('what it asks for, also where a proxy serves the daemon below a path', async t => {
  const asked = []
  const server = createServer(socket => {
    socket.on('error', () => {}).once('data', head => {
      asked.push(head.toString().split('\r\n')[0])
      socket.end('HTTP/1.1 404 Not Found\r\n\r\n')
    })
  })
  t.after(() => server.close())
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const base = `http://127.0.0.1:${server.address().port}`
  const long = `/${'x'.repeat(509)}/`   // as long as may be
  for (const [options, path, target] of [
    [['--json'], '/node/', '/node/'], [['--json'], '', '/'],
    [['--events'], '/node/', '/node/introspect'], [['--events'], '', '/introspect'],
    [['--events'], '/node/introspect', '/node/introspect'], [['--events'], '/?a=/', '/?a=/'],
    [['--past', '--json'], '/node/', '/node/past'], [['--past', '--json'], '/', '/past'],
    [['--past', '--json'], '/node/past?since=5', '/node/past?since=5'], [['--events'], long, `${long}introspect`]
  ]) {
    assert.equal((await introspect(t, ...options, base + path)).code, 1)
    assert.equal(asked.pop(), `GET ${target} HTTP/1.1`)
  }
  assert.deepEqual(asked, [])
})

describe('introspect --totals', () => {
  test('what the daemon counts is what is counted here, of the whole', async t => {
    const d = await feedDaemon(t, ['--interval', '10'])
    await node(t, d, () => encodeState(0, bigState(30)))
    const { code, lines } = await introspect(t, '--totals', '--json', '--count', '3', d.host)
    assert.equal(code, 0)
    assert.equal(lines.length, 3)
    for (const line of lines) {
      assert.deepEqual(line.counts, lines[0].counts)
      assert.equal(line.subsystems.connections, undefined)
      assert.equal(line.subsystems.dht.buckets, undefined)
      assert.equal(line.resources.length, 2)
    }
    // Of 30 connections every fifth is closed, and of the streams two in five are not open.
    const open = bigState(30).subsystems.connections.filter(c => c.status !== 1)
    assert.deepEqual(lines[0].counts, {
      connections: open.length,
      streams: open.flatMap(c => c.streams.streams).filter(s => s.status !== 1 && s.status !== 4).length,
      dhtPeers: 5,
      inbound: open.filter(c => c.role === 1).length,
      peers: open.length
    })
  })

  test('it asks for totals each time, and makes them of whole snapshots', async t => {
    const s = new WebSocketServer({ host: '127.0.0.1', port: 0, perMessageDeflate: false })
    t.after(() => s.close())
    await once(s, 'listening')
    const asked = []
    s.on('connection', socket => {
      let n = 0
      const send = () => socket.send(ServerMessage.encode(ServerMessage.fromObject({
        version: { version: 1 }, state: State.fromObject({ ...bigState(4), sequence: ++n })
      })).finish())
      socket.on('message', data => { asked.push(Ready.decode(data)); send() })
      send()
    })
    const { code, lines } = await introspect(t, '--totals', '--json', '--count', '3', `127.0.0.1:${s.address().port}`)
    assert.equal(code, 0)
    assert.deepEqual(lines.map(line => [line.sequence, line.counts.connections]), [['1', 3], ['2', 3], ['3', 3]])
    assert.deepEqual(asked.map(r => [Number(r.have), r.detail]), [[0, 1], [0, 1]])
  })
})
