// The opening handshake from outside: how it arrives, and who is let in.
import assert from 'node:assert/strict'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setInterval as every } from 'node:timers/promises'
import WebSocket from 'ws'
import { client, daemon, folder, SILENCE, test, within } from './daemon.mjs'
import { accept, connect, handshake, open, request } from './raw.mjs'

const HOUR = ['--interval', '3600000']
const verbose = { expect: [/^open /, /^clos/, /^refused /] }

async function answer (t, target, ...parts) {
  const c = await connect(t, target)
  c.send(...parts)
  await c.answered()
  return c
}

test('what the answer says', async t => {
  const d = await daemon(t, HOUR)
  const c = await open(t, { port: d.port })
  assert.match(c.head, /^HTTP\/1\.1 101 Switching Protocols\r\n/)
  assert.equal(c.field('Upgrade'), 'websocket')
  assert.equal(c.field('Connection'), 'Upgrade')
  assert.equal(c.field('Sec-WebSocket-Accept'), accept)
  assert.equal(c.head.split('\r\n').length, 6)
})

test('compression is not taken up', async t => {
  const d = await daemon(t, HOUR)
  const c = await client(t, d.ws, { perMessageDeflate: true })
  await c.received(1)
  assert.equal(c.socket.extensions, '')
})

test('byte by byte', async t => {
  await within(SILENCE, async () => {
    const d = await daemon(t, HOUR)
    const c = await connect(t, { port: d.port })
    for (const byte of handshake()) await new Promise(resolve => c.socket.write(byte, resolve))
    await c.frame(0)
  })
})

test('every way to get it wrong', async t => {
  const d = await daemon(t, [...HOUR, '-v'], verbose)
  const bystander = await client(t, d.ws)
  await bystander.received(1)
  const post = request('POST / HTTP/1.1', { 'Content-Length': 5 }) + 'hello'
  const rows = {
    'no version': [handshake({ 'Sec-WebSocket-Version': undefined }), 426],
    'version 12': [handshake({ 'Sec-WebSocket-Version': 12 }), 426],
    'no key': [handshake({ 'Sec-WebSocket-Key': undefined }), 400],
    'key of 3 bytes': [handshake({ 'Sec-WebSocket-Key': 'YWJj' }), 400],
    'key that is not base64': [handshake({ 'Sec-WebSocket-Key': '????????????????????????' }), 400],
    'no Connection: Upgrade': [handshake({ Connection: 'close' }), 400],
    'no Host': [handshake({ Host: undefined }), 400],
    'no Host beside an absolute form': [handshake({ Host: undefined }, 'http://localhost/'), 400],
    'empty Host': [handshake({ Host: '' }), 400],
    'HTTP/1.0': [handshake().replace('HTTP/1.1', 'HTTP/1.0'), 400],
    'HTTP/2': ['PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', 400],
    'another path': [handshake({}, '/nothing'), 404],
    'by POST': [handshake().replace('GET', 'POST'), 405],
    'a post': [post, 405],
    'line without a colon': [request('GET / HTTP/1.1').replace('\r\n\r\n', '\r\nx\r\n\r\n'), 400],
    'bare line feeds': ['GET / HTTP/1.1\nHost: localhost\n\n', 400],
    'TLS': [Buffer.from('16030100c8010000c40303', 'hex'), 400],
    'NUL': [Buffer.alloc(3), 400],
    'no space': ['GET/HTTP/1.1\r\n\r\n', 400],
    'over 8 KiB': [request('GET / HTTP/1.1', { X: 'x'.repeat(8192) }), 431],
    'over 8 KiB and no end': ['GET / HTTP/1.1\r\nX: ' + 'x'.repeat(8192), 431],
    'foreign Host': [handshake({ Host: 'evil.example' }), 403],
    'foreign Origin': [handshake({ Origin: 'http://evil.example' }), 403],
    'Origin null': [handshake({ Origin: 'null' }), 403],
    'empty Origin': [handshake({ Origin: '' }), 403],
    'from another site': [handshake({ 'Sec-Fetch-Site': 'cross-site' }), 403]
  }
  for (const [name, [bytes, status]] of Object.entries(rows)) {
    await t.test(name, async t => {
      const c = await answer(t, { port: d.port }, bytes)
      assert.equal(c.status, status)
      assert.equal(c.field('Sec-WebSocket-Version'), status === 426 ? '13' : undefined)
      assert.equal(c.field('Upgrade'), status === 426 ? 'websocket' : undefined)
      assert.equal(c.field('Connection'), status === 426 ? 'close, Upgrade' : 'close')
      assert.equal(c.field('Allow'), status === 405 ? 'GET, HEAD' : undefined)
      await c.end()
      assert.equal(c.error, undefined)
      assert.equal(c.body.length, Number(c.field('Content-Length')))
      assert.match(c.body, new RegExp(`^${status} `))
      await d.line(new RegExp(`^refused status=${status} `))
    })
  }
  assert.equal(bystander.socket.readyState, WebSocket.OPEN)
})

test('a head of exactly 8 KiB', async t => {
  const d = await daemon(t, HOUR)
  const rest = 8192 - request('GET /healthz HTTP/1.1', { X: '' }).length
  const c = await answer(t, { port: d.port }, request('GET /healthz HTTP/1.1', { X: 'x'.repeat(rest) }))
  assert.equal(c.status, 200)
})

test('the log says which option lets a Host in, and it does', async t => {
  const foreign = { Host: 'node.example:4801' }
  const d = await daemon(t, HOUR, {
    expect: [/^refused status=403 peer=127\.0\.0\.1:\d+ reason="this Host is not allowed"/]
  })
  const refused = await answer(t, { port: d.port }, handshake(foreign))
  assert.equal(refused.status, 403)
  const line = await d.line(/^refused /)
  await refused.end()
  const [, option, value] = line.match(/allow_with="(\S+)" value="(\S+)"$/)
  assert.equal(option, '--allow-host')
  assert.ok(refused.body.endsWith(`; start introspectd with ${option} ${value}\n`), refused.body)
  const other = await daemon(t, [...HOUR, option, value])
  assert.equal((await answer(t, { port: other.port }, handshake(foreign))).status, 101)
})

test('the log says which option lets an Origin in, and it does', async t => {
  const foreign = { Origin: 'https://watch.example' }
  const d = await daemon(t, HOUR, {
    expect: [/^refused status=403 peer=127\.0\.0\.1:\d+ reason="this Origin is not allowed"/]
  })
  const refused = await answer(t, { port: d.port }, handshake(foreign))
  assert.equal(refused.status, 403)
  const line = await d.line(/^refused /)
  await refused.end()
  const [, option, value] = line.match(/allow_with="(\S+)" value="(\S+)"$/)
  assert.equal(option, '--allow-origin')
  assert.ok(refused.body.endsWith(`; start introspectd with ${option} ${value}\n`), refused.body)
  const other = await daemon(t, [...HOUR, option, value])
  assert.equal((await answer(t, { port: other.port }, handshake(foreign))).status, 101)
})

test('of many refusals the log has ten at once, then one a second and how many it left out', async t => {
  const d = await daemon(t, HOUR, { expect: [/^refused /] })
  const refused = () => d.lines.filter(line => /^refused /.test(line))
  const start = performance.now()
  let sent = 0
  const refuse = () => answer(t, { port: d.port }, handshake({ Host: `h${sent++}.example` }))
  while (sent < 50) await refuse()
  while (!refused().some(line => / suppressed=\d+$/.test(line))) await refuse()
  await d.stop()
  const said = refused().reduce((sum, line) => sum + 1 + Number(line.match(/ suppressed=(\d+)$/)?.[1] ?? 0), 0)
  assert.ok(said <= sent && said > 10)
  assert.ok(refused().length <= 10 + (performance.now() - start) / 1000, `${refused().length} lines`)
})

test('what a peer sent cannot break a log line', async t => {
  const d = await daemon(t, HOUR, { expect: [/^refused status=403 /] })
  const origin = Buffer.from(handshake({ Origin: '?\x1b[31m"\\\u00ff' }).replace('\x1b', '\t'), 'latin1')
  assert.equal((await answer(t, { port: d.port }, origin)).status, 403)
  const line = await d.line(/^refused /)
  assert.ok(line.endsWith('value="?\\x09[31m\\x22\\x5c\\xff"'), line)
})

test('Host and Origin that need no option', async t => {
  const d = await daemon(t, HOUR)
  const rows = [
    { Host: 'localhost' }, { Host: `LOCALHOST:${d.port}` }, { Host: '127.0.0.1' },
    { Host: '192.0.2.1:80' }, { Host: '[::1]' }, { Host: `[2001:db8::1]:${d.port}` },
    { Host: '192.0.2.1:99', Origin: 'http://192.0.2.1:99' }, { Host: 'localhost', Origin: 'https://localhost' },
    { Host: '127.0.0.1:4801', Origin: 'http://127.0.0.1:4801', 'Sec-Fetch-Site': 'same-origin' }
  ]
  for (const fields of rows) {
    assert.equal((await answer(t, { port: d.port }, handshake(fields))).status, 101, JSON.stringify(fields))
  }
})

// A Kubo gateway on 127.0.0.1:8080 serves whatever strangers published.
test('a page of another port of this machine is a stranger, whoever asks and wherever', { skip: process.env.CORE && 'not in the core' }, async t => {
  const path = join(folder(t), 'socket')
  const d = await daemon(t, [...HOUR, '-v', '--listen', '127.0.0.1:0', '--listen', path], verbose)
  for (const target of [{ port: d.port }, { path }]) {
    for (const [host, origin, status] of [
      ['localhost:4801', 'http://localhost:3000', 403], ['127.0.0.1:4801', 'http://127.0.0.1:8080', 403],
      ['127.0.0.1:4801', 'http://localhost:4801', 403], ['[::1]:4801', 'http://[::1]:8080', 403],
      ['localhost:4801', 'http://localhost', 403], ['localhost', 'http://localhost', 101]]) {
      assert.equal((await answer(t, target, handshake({ Host: host, Origin: origin }))).status, status, origin)
      const scrape = request('GET /metrics HTTP/1.1', { Host: host, Origin: origin })
      assert.equal((await answer(t, target, scrape)).status, status === 101 ? 200 : 403, origin)
    }
  }
})

test('what a proxy sends: the URL that it shows is the daemon\'s own, and no other of its names', async t => {
  const d = await daemon(t, [...HOUR, '-v', '--public-url', 'https://node.example/below/'], verbose)
  const page = 'https://node.example'
  const claims = { 'X-Forwarded-Proto': 'http', 'X-Forwarded-Host': 'evil.example', Forwarded: 'proto=http;host=evil.example' }
  for (const [host, origin, status] of [
    ['node.example', page, 101], ['127.0.0.1:4801', page, 101], ['localhost', page, 101], ['node.example:443', page, 101],
    ['node.example', 'http://node.example', 403], ['127.0.0.1:4801', 'http://node.example', 403],
    ['node.example', 'https://node.example:8443', 403], ['node.example', 'https://evil.example', 403],
    ['node.example', 'http://evil.example', 403], ['evil.example', page, 403], ['evil.example', undefined, 403],
    ['node.example', undefined, 101], ['127.0.0.1:4801', 'http://127.0.0.1:4801', 101]]) {
    const c = await answer(t, { port: d.port }, handshake({ Host: host, Origin: origin, ...claims }))
    assert.equal(c.status, status, `${host} ${origin}`)
  }
})

// The bytes of proxies.
test('a token and the subprotocol in lines of their own, in any order', async t => {
  const token = 'correct-horse.battery_staple~1'
  const file = join(folder(t), 'token')
  writeFileSync(file, token, { mode: 0o600 })
  const d = await daemon(t, [...HOUR, '--token-file', file])
  const line = value => `Sec-WebSocket-Protocol: ${value}\r\n`
  const [offer, name, other] = [`introspect.token.${token}`, 'introspect', 'chat'].map(line)
  for (const lines of [[offer, name], [name, offer], [other, offer, name], [offer, other, name], [line(''), offer, name]]) {
    const c = await answer(t, { port: d.port }, handshake().replace('\r\n\r\n', `\r\n${lines.join('X: y\r\n')}\r\n`))
    assert.equal(c.status, 101, lines.join(''))
    assert.equal(c.field('Sec-WebSocket-Protocol'), 'introspect')
  }
})

test('an upgrade by absolute form, and with an empty line before it', async t => {
  const d = await daemon(t, [...HOUR, '-v'], verbose)
  const own = `http://127.0.0.1:${d.port}`
  assert.equal((await answer(t, { port: d.port }, handshake({ Origin: own, Host: 'backend' }, `${own}/`))).status, 101)
  assert.equal((await answer(t, { port: d.port }, handshake({ Host: 'localhost' }, 'http://evil.example/'))).status, 403)
  assert.equal((await answer(t, { port: d.port }, '\r\n', handshake())).status, 101)
})

test('several addresses: IPv4, IPv6 and a Unix socket', async t => {
  const path = join(folder(t), 'socket')
  const d = await daemon(t, [...HOUR, '--listen', '127.0.0.1:0', '--listen', '[::1]:0', '--listen', path])
  const six = await d.line(/^listening url=http:\/\/\[::1\]:\d+\/$/)
  await d.line(new RegExp(`^listening path=${path}$`))
  const clients = []
  for (const url of [d.ws, six.split('=')[1].replace('http', 'ws'), `ws+unix:${path}:/`]) {
    clients.push(await client(t, url))
    await clients.at(-1).received(1)
  }
  for (const c of clients) assert.deepEqual(c.raw, clients[0].raw)
})

test('a handshake that is not finished in 5 s', async t => {
  const d = await daemon(t, [...HOUR, '-v'], {
    expect: [/^closed peer=\S+ reason="handshake not finished in 5 s" snapshots=0$/]
  })
  const start = performance.now()
  const silent = await connect(t, { port: d.port })
  const slow = await connect(t, { port: d.port })
  const dribble = (async () => {
    for await (const _ of every(500)) {
      if (slow.ended) return
      slow.send('G')
    }
  })()
  await Promise.all([silent, slow].map(async c => {
    await c.end()
    const seconds = (performance.now() - start) / 1000
    assert.ok(seconds > 4.9, `closed after ${seconds} s`)   // though one of them goes on
    assert.equal(c.head, '')
  }))
  await dribble
})
