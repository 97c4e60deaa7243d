// Who gets in: tokens and TLS, seen from outside.
import assert from 'node:assert/strict'
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, copyFileSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import https from 'node:https'
import net from 'node:net'
import { join } from 'node:path'
import test, { after, before } from 'node:test'
import tls from 'node:tls'
import { commandClient } from './command-client.mjs'
import { build, client, daemon, folder } from './daemon.mjs'
import { encodeState, node } from './feed-node.mjs'
import { clientHello, makePki } from './pki.mjs'
import { connect, handshake, open, request } from './raw.mjs'

const TOKEN = 'correct-horse.battery_staple~1'
const WRONG = 'correct-horse.battery_staple~2'
const HOUR = ['--interval', '3600000']
const SHORT = ['--interval', '10']

function tokenFile (t, text = `${TOKEN}\n`) {
  const path = join(folder(t), 'token')
  writeFileSync(path, text, { mode: 0o600 })
  return path
}

const WRONG_TOKEN = /^wrong_token /
const guarded = (t, options = [], { expect = [], ...settings } = {}) =>
  daemon(t, ['--token-file', tokenFile(t), ...options], { expect: [WRONG_TOKEN, ...expect], ...settings })
const bearer = token => ({ Authorization: `Bearer ${token}` })

// A handshake with these fields, answered; how many ms the answer took.
async function ask (t, target, fields) {
  const c = await connect(t, target)
  const start = performance.now()
  c.send(handshake(fields))
  await c.answered()
  c.ms = performance.now() - start
  return c
}

// A program that ends by itself.
function run (name, args) {
  const { status, stderr, stdout } = spawnSync(join(build, name), args, { timeout: 60000, encoding: 'utf8' })
  return { status, stdout, lines: stderr.split('\n').filter(line => line) }
}

const introspect = (t, args) => new Promise(resolve => {
  const child = spawn(join(build, 'introspect'), ['--json', '--count', '1', ...args],
    { stdio: ['ignore', 'pipe', 'pipe'] })
  const result = { out: '', err: '' }
  child.stdout.on('data', data => { result.out += data })
  child.stderr.on('data', data => { result.err += data })
  t.after(() => child.kill('SIGKILL'))
  child.on('close', code => resolve({ code, ...result }))
})

let pki
before(() => { pki = makePki() })
after(() => rmSync(pki.path, { recursive: true, force: true }))

const identity = (name = 'server') => ['--tls-cert', pki.file(`${name}.pem`), '--tls-key', pki.file(`${name}.key`)]
const secured = (t, options = [], settings) => daemon(t, [...identity(), ...options], settings)

// The answer to a GET over TLS: status, and whose certificate it came with.
function get (d, path = '/healthz', options = {}) {
  return new Promise((resolve, reject) => {
    https.get(new URL(path, d.url), { ca: pki.ca, agent: false, ...options }, response => {
      const name = response.socket.getPeerCertificate().subject.CN
      let body = ''
      response.on('data', data => { body += data })
      response.on('end', () => resolve({ status: response.statusCode, body, name }))
    }).on('error', reject)
  })
}

// A TLS connection, or the error that it ended with.
function tlsConnect (t, d, options = {}) {
  return new Promise(resolve => {
    const socket = tls.connect({ port: d.port, host: '127.0.0.1', ca: pki.ca, ...options })
    t.after(() => socket.destroy())
    socket.once('secureConnect', () => resolve({
      protocol: socket.getProtocol(), cipher: socket.getCipher().name, socket
    }))
    socket.on('error', error => resolve({ error }))
  })
}

// A connection on which bytes are sent; closed resolves with the ms until it ended.
async function plain (t, d, bytes) {
  const start = performance.now()
  const socket = net.connect({ port: d.port, host: '127.0.0.1' }).on('error', () => {}).resume()
  t.after(() => socket.destroy())
  await once(socket, 'connect')
  if (bytes) socket.write(bytes)
  return { socket, closed: new Promise(resolve => socket.on('close', () => resolve(performance.now() - start))) }
}

test('the bearer token opens, all else is 401', async t => {
  const d = await guarded(t, [...HOUR, '-v'], { expect: [/^(open|closed|closing|refused) /] })
  const target = { port: d.port, host: '127.0.0.1' }
  for (const fields of [bearer(TOKEN), { Authorization: `bearer ${TOKEN}` }]) {
    const c = await ask(t, target, fields)
    assert.equal(c.status, 101)
    assert.equal(c.field('Sec-WebSocket-Protocol'), undefined)
    await c.frame(0)
  }
  for (const [i, fields] of [{}, bearer(WRONG), bearer(TOKEN.slice(0, -1)), bearer(`${TOKEN}x`), bearer(''),
    { Authorization: TOKEN }, { Authorization: `Basic ${TOKEN}` },
    { 'Sec-WebSocket-Protocol': `introspect, introspect.token.${WRONG}` },
    { 'Sec-WebSocket-Protocol': 'introspect, introspect.token.' },
    { 'Sec-WebSocket-Protocol': TOKEN }, { Cookie: `token=${TOKEN}` }].entries()) {
    // Each from an address of its own, so that none has to wait for long.
    const c = await ask(t, { ...target, localAddress: `127.0.1.${i + 1}` }, fields)
    assert.equal(c.status, 401, JSON.stringify(fields))
    assert.equal(c.field('WWW-Authenticate'), 'Bearer')
    await c.end()
    assert.match(c.body, /a wrong or no token/)
    assert.doesNotMatch(c.head + c.body, /battery/)
  }
  const url = await connect(t, { ...target, localAddress: '127.0.2.1' })
  url.send(handshake({}, `/?token=${TOKEN}`))
  await url.answered()
  assert.equal(url.status, 401)
  await d.stop()
  assert.ok(d.lines.some(line => /^refused status=401/.test(line)))
  assert.ok(d.lines.every(line => !line.includes('battery')), 'a token in the log')
})

test('a browser offers it as a subprotocol, the server picks introspect', async t => {
  const d = await guarded(t, HOUR)
  const c = await open(t, { port: d.port, host: '127.0.0.1' }, { 'Sec-WebSocket-Protocol': `introspect, introspect.token.${TOKEN}` })
  assert.equal(c.field('Sec-WebSocket-Protocol'), 'introspect')
  await c.frame(0)
})

test('pages and healthz need none, both protocols do', async t => {
  const d = await guarded(t)
  for (const [path, status] of [['', 200], ['healthz', 200], ['introspection.proto', 200], ['x', 404]]) {
    assert.equal((await fetch(d.url + path)).status, status, path)
  }
  for (const path of ['/', '/introspect']) {
    const c = await connect(t, { port: d.port, host: '127.0.0.1' })
    c.send(handshake({}, path))
    await c.answered()
    assert.equal(c.status, 401, path)
  }
  const c = await commandClient(t, d.ws, { headers: bearer(TOKEN) })
  await c.ok('HELLO')
})

test('each wrong token from an address waits longer, nobody else does', async t => {
  const feed = join(folder(t), 'feed')
  const d = await guarded(t, ['--feed', feed, ...SHORT], { expect: [/^feed_/] })
  await node(t, { feed })
  const target = { port: d.port, host: '127.0.0.1' }
  const watching = await client(t, d.ws, { headers: bearer(TOKEN) })
  await watching.received(1)
  const waits = [(await ask(t, target, bearer(WRONG))).ms, (await ask(t, target, bearer(WRONG))).ms,
    (await ask(t, target, bearer(WRONG))).ms]
  for (const [i, least] of [250, 500, 1000].entries()) assert.ok(waits[i] >= least - 5, `${i}: ${waits[i]} ms`)
  const start = performance.now()
  const held = await Promise.all([1, 2, 3].map(() => connect(t, target)))
  for (const c of held) c.send(handshake(bearer(WRONG)))   // the last waits for 5 s
  await (await fetch(`${d.url}healthz`)).text()            // served after those were read
  await ask(t, { ...target, localAddress: '127.0.0.2' }, bearer(WRONG))
  assert.equal((await ask(t, target, bearer(TOKEN))).status, 101)
  for (let i = 0; i < 10; i++) await watching.next()
  assert.ok(!held.every(c => c.status))
  await Promise.all(held.map(c => c.answered()))
  assert.ok(performance.now() - start >= 4995)
})

test('tokens are not tried out by not waiting for answers, and whoever has the right one is served', async t => {
  const d = await guarded(t, [...HOUR, '--max-clients', '200'], { expect: [WRONG_TOKEN] })
  const target = { port: d.port, host: '127.0.0.1' }
  const several = await ask(t, { ...target, localAddress: '127.0.3.1' },
    { 'Sec-WebSocket-Protocol': `introspect, introspect.token.${WRONG}, introspect.token.${TOKEN}` })
  assert.equal(several.status, 401, 'one offer a request')
  const both = await ask(t, { ...target, localAddress: '127.0.3.2' },
    { ...bearer(TOKEN), 'Sec-WebSocket-Protocol': `introspect, introspect.token.${TOKEN}` })
  assert.equal(both.status, 401)

  // 600 guesses, 24 at a time, of which the 300th is right.
  const start = performance.now()
  const counts = {}
  let next = 0
  const guess = async () => {
    while (next < 600) {
      const token = ++next === 300 ? TOKEN : `wrong-horse.battery_staple~${next}`
      const c = await connect(t, { ...target, localAddress: '127.0.3.3' })
      c.send(handshake(bearer(token)))
      const status = await c.until(() => c.status, 40).catch(() => 'left')
      counts[status] = (counts[status] ?? 0) + 1
      c.socket.destroy()
    }
  }
  const attack = Promise.all(Array.from({ length: 24 }, guess))
  for (let i = 0; i < 5; i++) {
    assert.equal((await ask(t, { ...target, localAddress: `127.0.4.${i}` }, bearer(TOKEN))).status, 101)
  }
  await attack
  assert.equal(counts[101], undefined, JSON.stringify(counts))
  assert.ok(counts[429] > 0, JSON.stringify(counts))
  // fail2ban is told: ten lines and one a second.
  const lines = d.lines.filter(line => /^wrong_token peer=127\.0\.3\.3:\d+ status=(401|429)$/.test(line))
  assert.ok(lines.length >= 5 && lines.length <= 12 + (performance.now() - start) / 1000, `${lines.length} lines`)
})

test('a refusal of one token too many has no body for HEAD, and may be read by an allowed page', async t => {
  const origin = 'https://watch.example'
  const d = await guarded(t, [...HOUR, '--allow-origin', origin, '--max-clients', '200'], { expect: [/^refused /] })
  const head = request('HEAD /metrics HTTP/1.1', { ...bearer(WRONG), Origin: origin })
  const all = await Promise.all(Array.from({ length: 60 }, () => connect(t, { port: d.port })))
  for (const c of all) c.send(head)
  const many = await Promise.race(all.map(async c => {
    await c.answered()
    return c.status === 429 ? c : new Promise(() => {})
  }))
  await many.end()
  assert.equal(many.body, '')
  assert.equal(many.field('Access-Control-Allow-Origin'), origin)
})

const ticks = pid => {
  const fields = readFileSync(`/proc/${pid}/stat`, 'latin1').split(') ')[1].split(' ')
  return Number(fields[11]) + Number(fields[12])
}

test('who leaves while its answer is held back costs nothing', async t => {
  const d = await guarded(t, [...HOUR, '-v'], { expect: [/^(open|closed|refused) /] })
  const target = { port: d.port, host: '127.0.0.1' }
  for (let i = 0; i < 3; i++) await ask(t, target, bearer(WRONG))
  const c = await connect(t, target)
  c.send(handshake(bearer(WRONG)))
  await (await fetch(`${d.url}healthz`)).text()   // served after that handshake was read
  const used = ticks(d.pid)
  const { localPort } = c.socket
  c.socket.resetAndDestroy()
  await d.line(new RegExp(`^closed peer=127\\.0\\.0\\.1:${localPort} `))
  assert.ok(ticks(d.pid) - used < 20, `${ticks(d.pid) - used} ticks`)
})

for (const [name, text] of [['is too short', 'fifteen-letters'], ['is too long', 'x'.repeat(257)], ['is empty', ''],
  ['has a space in it', 'sixteen letters and more'], ['comes second', `\n${TOKEN}`]]) {
  test(`a token that ${name} is refused at start`, t => {
    const file = tokenFile(t, text)
    const { status, lines } = run('introspectd', ['--no-sandbox', '--listen', '127.0.0.1:0', '--token-file', file])
    assert.equal(status, 1)
    assert.deepEqual(lines, [`error token_file=${file} ` +
      `reason="its first line must be 16 to 256 letters, digits or . _ ~ -"`])
  })
}

test('a token file that is not there, or a folder, is refused at start', t => {
  for (const [file, reason] of [['/nonexistent/token', 'No such file or directory'], [folder(t), 'Is a directory']]) {
    const { status, lines } = run('introspectd', ['--no-sandbox', '--listen', '127.0.0.1:0', '--token-file', file])
    assert.equal(status, 1)
    assert.deepEqual(lines, [`error token_file=${file} reason="${reason}"`])
    assert.deepEqual(run('introspect', ['--token-file', file, '127.0.0.1:1']),
      { status: 2, stdout: '', lines: [`introspect: ${file}: ${reason}`] })
  }
})

test('a token or a key that others may read is warned of', async t => {
  const file = tokenFile(t)
  const key = join(folder(t), 'key')
  copyFileSync(pki.file('server.key'), key)
  const start = () => daemon(t, ['--token-file', file, '--tls-cert', pki.file('server.pem'), '--tls-key', key],
    { expect: [/^warning file=/] })
  const warnings = d => d.lines.filter(line => line.startsWith('warning file='))
  assert.deepEqual(warnings(await start()), [])
  chmodSync(file, 0o644)
  chmodSync(key, 0o604)
  assert.deepEqual(warnings(await start()), [[file, '0644'], [key, '0604']].map(([name, mode]) => `warning file=${name} ` +
    `mode=${mode} reason="it is a secret that every user of this machine may read: chmod 600"`))
})

test('SIGHUP takes a new token, and none that is wrong; who is in stays in', async t => {
  const file = tokenFile(t)
  const d = await daemon(t, ['--token-file', file, ...SHORT], { expect: [/^error token_file=/, WRONG_TOKEN] })
  const target = { port: d.port, host: '127.0.0.1' }
  const inside = await client(t, d.ws, { headers: bearer(TOKEN) })
  await inside.received(1)
  writeFileSync(file, 'short')
  d.child.kill('SIGHUP')
  await d.line(/^error token_file=.* reason="its first line/)
  assert.equal((await ask(t, target, bearer(TOKEN))).status, 101)
  writeFileSync(file, `${WRONG}\r\n`)
  d.child.kill('SIGHUP')
  await d.line(new RegExp(`^reloaded token_file=${file}$`))
  assert.equal((await ask(t, target, bearer(TOKEN))).status, 401)
  assert.equal((await ask(t, target, bearer(WRONG))).status, 101)
  await inside.next()
})

test('introspect shows the token of a file', async t => {
  const d = await guarded(t)
  const right = await introspect(t, ['--token-file', tokenFile(t), d.host])
  assert.deepEqual([right.code, right.err], [0, ''])
  JSON.parse(right.out)
  assert.deepEqual(await introspect(t, ['--token-file', tokenFile(t, WRONG), d.host]),
    { code: 1, out: '', err: `introspect: no connection: ${d.host}: does not take this token (401)\n` })
  assert.deepEqual(await introspect(t, [d.host]),
    { code: 1, out: '', err: `introspect: no connection: ${d.host}: wants a token: see --token-file (401)\n` })
  assert.equal((await introspect(t, ['--token-file', '/nonexistent', d.host])).code, 2)
})

test('an address that others reach, and no token: one warning', async t => {
  const open = ['--listen', '0.0.0.0:0']
  const d = await daemon(t, open, { expect: [/^warning address=0\.0\.0\.0:\d+ reason=".*--token-file/] })
  await fetch(`http://127.0.0.1:${d.port}/healthz`)
  await d.line(/^warning/)
  assert.equal(d.lines.filter(line => /^warning/.test(line)).length, 1)
  await guarded(t, open)
  const secret = await secured(t, open, { expect: [/^warning /] })   // TLS keeps nobody out
  await secret.line(/^warning address=.*--tls-client-ca/)
  await secured(t, [...open, '--tls-client-ca', pki.file('ca.pem')])
})

test('TLS 1.2 and newer, and nothing else', async t => {
  const d = await secured(t, HOUR)
  const common = await tlsConnect(t, d)
  assert.match(common.protocol, /^TLSv1\.[23]$/)
  const older = await tlsConnect(t, d, { maxVersion: 'TLSv1.2' })
  assert.equal(older.protocol, 'TLSv1.2')
  const newer = await tlsConnect(t, d, { minVersion: 'TLSv1.3' })
  assert.ok(newer.protocol === 'TLSv1.3' ||
    /PROTOCOL_VERSION|HANDSHAKE_FAILURE/.test(newer.error.code), newer.error?.code)
  for (const version of ['TLSv1', 'TLSv1.1']) {
    const { error } = await tlsConnect(t, d, {
      minVersion: version, maxVersion: version, ciphers: 'DEFAULT@SECLEVEL=0'
    })
    assert.match(error?.code ?? 'none', /PROTOCOL_VERSION/, version)
  }
})

test('suites with ephemeral keys and authenticated encryption, and no others', async t => {
  const d = await secured(t, HOUR)
  for (const ciphers of ['ECDHE-ECDSA-AES256-GCM-SHA384', 'ECDHE-ECDSA-AES128-GCM-SHA256',
    'ECDHE-ECDSA-CHACHA20-POLY1305']) {
    assert.equal((await tlsConnect(t, d, { maxVersion: 'TLSv1.2', ciphers })).cipher, ciphers)
  }
  for (const ciphers of ['ECDHE-ECDSA-AES128-SHA256', 'ECDHE-ECDSA-AES256-SHA', 'AES128-GCM-SHA256',
    'ECDHE-ECDSA-AES128-CCM']) {
    const { error } = await tlsConnect(t, d, { maxVersion: 'TLSv1.2', ciphers: `${ciphers}:@SECLEVEL=0` })
    assert.match(error?.code ?? 'none', /HANDSHAKE_FAILURE/, ciphers)
  }
})

test('pages, both protocols and tokens over TLS', async t => {
  const d = await secured(t, ['--token-file', tokenFile(t), ...SHORT], { expect: [WRONG_TOKEN] })
  assert.match(d.url, /^https:/)
  assert.equal((await get(d)).body.trim(), 'ok')
  const page = await get(d, '/introspection.proto')
  assert.equal(page.body, readFileSync(new URL('../../introspection.proto', import.meta.url), 'utf8'))
  const options = { ca: pki.ca, headers: bearer(TOKEN) }
  const c = await client(t, d.ws, options)
  await c.received(1)
  for (let i = 0; i < 20; i++) await c.next()
  assert.deepEqual(c.sequences(), [...new Set(c.sequences())].sort((a, b) => a - b))
  const commands = await commandClient(t, d.ws, options)
  await commands.ok('HELLO', { config: { stateSnapshotIntervalMs: 500 } })
  await commands.ok('PUSH_ENABLE', { source: 'STATE' })
  await commands.count('states', 2)
  await assert.rejects(client(t, d.ws, { ca: pki.ca }), /401/)
  await assert.rejects(client(t, d.ws, { headers: bearer(TOKEN) }), /certificate|issuer/)
})

test('large snapshots over TLS, and a ready while one is written', async t => {
  const size = 8 << 20
  const feed = join(folder(t), 'feed')
  const d = await secured(t, ['--feed', feed, ...SHORT], { expect: [/^feed_(dis)?connected$/, /^slot /] })
  await get(d)   // answered by the loop, which begins when the source is open
  d.feed = feed
  await node(t, d, n => encodeState(size + n))
  const c = await client(t, d.ws, { ca: pki.ca })
  await c.received(1)
  c.socket.pause()
  c.ready()
  const writing = () => d.lines.some(line => /^slot .* state=open .* unsent=[1-9]/.test(line))
  while (!writing()) {   // the second
    d.child.kill('SIGUSR1')
    await get(d)
  }
  c.ready()
  await get(d)
  c.socket.resume()
  await c.received(3)
  for (const { state } of c.snapshots) assert.ok(state.topics[0].name.length > size)
  c.socket.close(1000)
  assert.deepEqual(await c.closed, { code: 1000, reason: '' })
})

test('half handshakes end after 5 s and hold up nobody, garbage ends at once', async t => {
  const d = await secured(t, SHORT)
  const hello = await clientHello()
  const slow = await Promise.all([undefined, hello.subarray(0, 3), hello.subarray(0, 100), hello]
    .map(bytes => plain(t, d, bytes)))
  const drip = await plain(t, d)
  const ended = []
  for (const { closed } of [...slow, drip]) closed.then(() => ended.push('slow'))
  let at = 0
  const timer = setInterval(() => drip.socket.write(hello.subarray(at, ++at)), 100)
  drip.closed.then(() => clearInterval(timer))
  const garbage = await Promise.all(['GET / HTTP/1.1\r\nHost: localhost\r\n\r\n', Buffer.alloc(4096, 0xff),
    Buffer.concat([Buffer.from([22, 3, 1, 0xff, 0xff]), Buffer.alloc(70000)])].map(bytes => plain(t, d, bytes)))
  for (const { closed } of garbage) closed.then(() => ended.push('garbage'))
  const c = await client(t, d.ws, { ca: pki.ca })
  for (let i = 0; i < 20; i++) await c.next()
  for (const { closed } of [...slow, drip]) assert.ok(await closed > 4500, `${await closed} ms`)
  assert.deepEqual(ended.slice(0, 3), ['garbage', 'garbage', 'garbage'])
  await c.next()
})

test('with --tls-client-ca only who has a certificate of it gets in', async t => {
  const d = await secured(t, ['--tls-client-ca', pki.file('ca.pem'), '-v'], { expect: [/^(open|closed|closing) /] })
  const known = { cert: pki.read('client.pem'), key: pki.read('client.key') }
  assert.equal((await get(d, '/healthz', known)).status, 200)
  const c = await client(t, d.ws, { ca: pki.ca, ...known })
  await c.received(1)
  await assert.rejects(get(d))
  await d.line(/^closed .* reason="TLS: the client has no certificate, which --tls-client-ca asks for"/)
  const { code, err } = await introspect(t, ['--ca', pki.file('ca.pem'), d.ws])
  assert.equal(code, 1)
  // What comes first, the server's alert or the end, is a matter of chance.
  assert.match(err, /: (closed the connection without an answer|TLS: the server refused): it may want a certificate \(--tls-cert\)\n$/)
  const showing = (cert, key) => introspect(t, ['--ca', pki.file('ca.pem'), '--tls-cert', pki.file(cert), '--tls-key', pki.file(key), d.ws])
  const shown = await showing('client.pem', 'client.key')
  assert.deepEqual([shown.code, shown.err], [0, ''])
  assert.equal(JSON.parse(shown.out).sequence > 0, true)
  const stranger = await showing('stranger.pem', 'stranger.key')
  assert.equal(stranger.code, 1)
  assert.match(stranger.err, /: it may want a certificate \(--tls-cert\)\n$/)
  for (const [cert, key, why] of [['client.pem', 'server.key', /server\.key is not the key of .*client\.pem\n$/],
    ['expired.pem', 'expired.key', /expired\.pem expired on /], ['none.pem', 'client.key', /none\.pem: No such file or directory\n$/]]) {
    const wrong = await showing(cert, key)
    assert.equal(wrong.code, 2)
    assert.match(wrong.err, why)
  }
  await assert.rejects(get(d, '/healthz', { cert: pki.read('stranger.pem'), key: pki.read('stranger.key') }))
  await assert.rejects(get(d, '/healthz', { cert: pki.read('expired.pem'), key: pki.read('expired.key') }))
  await d.line(/^closed .* reason="TLS: .*expired/)
})

test('certificates and keys that are wrong: one line, exit status 1', t => {
  const nothing = join(folder(t), 'nothing')
  writeFileSync(nothing, 'nothing', { mode: 0o600 })
  for (const [options, reason] of [
    [[pki.file('server.pem'), pki.file('renewed.key')], /renewed\.key is not the key of .*server\.pem"$/],
    [[pki.file('expired.pem'), pki.file('expired.key')], /expired\.pem expired on \d{4}-\d\d-\d\d"$/],
    [['/nonexistent.pem', pki.file('server.key')], /"\/nonexistent\.pem: No such file or directory"$/],
    [[pki.file('server.pem'), '/nonexistent.key'], /"\/nonexistent\.key: No such file or directory"$/],
    [[pki.path, pki.file('server.key')], /: Is a directory"$/],
    [[nothing, pki.file('server.key')], /nothing: /],
    [[pki.file('server.pem'), nothing], /nothing: /],
    [[pki.file('server.pem'), pki.file('server.key'), '--tls-client-ca', nothing], /nothing: /]]) {
    const [cert, key, ...more] = options
    const { status, lines } = run('introspectd', ['--no-sandbox', '--listen', '127.0.0.1:0',
      '--tls-cert', cert, '--tls-key', key, ...more])
    assert.equal(status, 1, lines.join())
    assert.equal(lines.length, 1)
    assert.match(lines[0], /^error tls="/)
    assert.match(lines[0], reason)
  }
})

test('options that go together', () => {
  for (const [options, line] of [
    [['--tls-cert', 'x'], 'introspectd: --tls-cert goes with --tls-key'],
    [['--tls-key', 'x'], 'introspectd: --tls-cert goes with --tls-key'],
    [['--tls-client-ca', 'x'], 'introspectd: --tls-client-ca goes with --tls-cert']]) {
    assert.deepEqual(run('introspectd', options), { status: 2, stdout: '', lines: [line] })
  }
})

test('SIGHUP takes a new certificate and drops nobody; a wrong one is not taken', async t => {
  const path = folder(t)
  const put = (cert, key) => {
    copyFileSync(pki.file(`${cert}.pem`), join(path, 'cert'))
    copyFileSync(pki.file(`${key}.key`), join(path, 'key'))
  }
  put('server', 'server')
  const token = tokenFile(t)
  const d = await daemon(t, ['--tls-cert', join(path, 'cert'), '--tls-key', join(path, 'key'), '--token-file', token, ...SHORT],
    { expect: [/^error (tls|token_file)=/] })
  const c = await client(t, d.ws, { ca: pki.ca, headers: bearer(TOKEN) })
  await c.received(1)
  assert.equal((await get(d)).name, 'first')
  put('renewed', 'server')
  d.child.kill('SIGHUP')
  await d.line(/^error tls=".*key is not the key of .*cert"/)
  assert.equal((await get(d)).name, 'first')
  put('expired', 'expired')
  d.child.kill('SIGHUP')
  await d.line(/^error tls=".*cert expired on /)
  put('renewed', 'renewed')
  writeFileSync(token, 'short')   // which is no reason to leave the certificate
  d.child.kill('SIGHUP')
  await d.line(/^error token_file=/)
  await get(d)   // this one may have been accepted before the signal was read
  assert.equal((await get(d)).name, 'second')
  await c.next()
  await c.next()
})

test('introspect takes the certificates it is told to trust, or any with --insecure', async t => {
  const d = await secured(t)
  const url = `wss://localhost:${d.port}`
  for (const options of [['--ca', pki.file('ca.pem')], ['--insecure']]) {
    const { code, out, err } = await introspect(t, [...options, url])
    assert.deepEqual([code, err], [0, ''])
    assert.ok(JSON.parse(out).subsystems)
  }
  for (const options of [[], ['--ca', pki.file('stranger.pem')]]) {
    const { code, out, err } = await introspect(t, [...options, url])
    assert.deepEqual([code, out], [1, ''])
    assert.match(err, /^introspect: no connection: .*localhost:\d+: TLS: The certificate is not correctly signed by the trusted CA: see --ca\n$/)
  }
  const wrong = await introspect(t, ['--ca', '/nonexistent.pem', url])
  assert.equal(wrong.code, 2)
  assert.match(wrong.err, /^introspect: \/nonexistent\.pem: /)
})

test('a certificate must be for the name, or for the IP address, that introspect is given', async t => {
  for (const [names, right, wrong] of [
    ['DNS:localhost', ['localhost'], ['127.0.0.1', '[::1]']],
    ['IP:127.0.0.1', ['127.0.0.1'], ['localhost', '127.0.0.2', '[::1]']],
    ['DNS:node.example,IP:10.0.0.1,IP:::1,IP:127.0.0.2', ['[::1]', '127.0.0.2'], ['127.0.0.1', 'localhost']],
    // What an address looks like as another kind of name counts for nothing.
    ['DNS:127.0.0.1,email:a@127.0.0.1,URI:https://127.0.0.1', [], ['127.0.0.1']]]) {
    pki.issue('named', names)
    const d = await daemon(t, [...identity('named'), '--listen', '127.0.0.1:0'])
    const { port } = d
    const d6 = await daemon(t, [...identity('named'), '--listen', `[::1]:${port}`, '--listen', `127.0.0.2:${port}`])
    for (const host of right) {
      const { code, out, err } = await introspect(t, ['--ca', pki.file('ca.pem'), `wss://${host}:${port}`])
      assert.deepEqual([code, err], [0, ''], `${names}: ${host}`)
      assert.ok(JSON.parse(out).subsystems)
    }
    for (const host of wrong) {
      const { code, out, err } = await introspect(t, ['--ca', pki.file('ca.pem'), `wss://${host}:${port}`])
      const name = host === 'localhost' ? host : `IP address ${host.replace(/[[\]]/g, '')}`
      assert.deepEqual([code, out, err.split('; ').at(-1)], [1, '', `${err.includes('; ') ? '' : 'introspect: no connection: '}` +
        `${host}:${port}: TLS: the server's certificate is not for ${name}\n`], names)
    }
    await d6.stop()
  }
})

test('TLS spoken to a clear port, and the reverse: both ends say what is wrong', async t => {
  const insecure = await daemon(t, ['-v'], { expect: [/^(open|closed|closing|refused) /] })
  assert.deepEqual(await introspect(t, ['--insecure', `wss://${insecure.host}`]), { code: 1, out: '',
    err: `introspect: no connection: ${insecure.host}: TLS: the server does not speak TLS here: use ws:// or http://\n` })
  const d = await secured(t, ['-v'], { expect: [/^(open|closed|closing|refused) /] })
  assert.deepEqual(await introspect(t, [d.host]), { code: 1, out: '',
    err: `introspect: no connection: ${d.host}: refuses: "400 Bad Request: this port speaks TLS; use https:// and wss://"\n` })
  for (const fields of [{}, { Cookie: 'x'.repeat(7000) }]) {
    const c = await connect(t, { port: d.port, host: '127.0.0.1' })
    c.send(request('GET / HTTP/1.1', fields))
    await c.end()
    assert.deepEqual([c.status, c.error], [400, undefined])
    assert.equal(c.body, '400 Bad Request: this port speaks TLS; use https:// and wss://\n')
  }
  const other = await connect(t, { port: d.port, host: '127.0.0.1' })   // which is answered by nothing
  other.send('\0\0\0\0\0\0')
  await other.end()
  assert.equal(other.head + other.body, '')
  await d.line(/^closed .* reason="TLS: the client does not speak TLS: it must use wss:\/\/ or https:\/\/"/)
})

// Takes the socket from under a TLS connection of Node, whose bytes then are the caller's.
async function rawAfterHandshake (t, d) {
  const socket = net.connect({ port: d.port, host: '127.0.0.1' })
  t.after(() => socket.destroy())
  await once(tls.connect({ socket, ca: pki.ca, servername: 'localhost' }).on('error', () => {}), 'secureConnect')
  return socket
}

test('what goes wrong after the handshake is named', async t => {
  const d = await secured(t, ['-v'], { expect: [/^closed /] })
  const forger = await rawAfterHandshake(t, d)
  forger.write(Buffer.concat([Buffer.from([23, 3, 3, 0, 32]), Buffer.alloc(32, 'x')]))
  await d.line(/^closed .* reason="TLS: SSL - Verification of the message MAC failed"/)
  const gone = await rawAfterHandshake(t, d)
  gone.resetAndDestroy()
  await d.line(/^closed .* reason="Connection reset by peer"/)
})

test('a clear request to a TLS port, and goodbye to all over TLS', async t => {
  const d = await secured(t, HOUR)
  assert.equal((await fetch(`http://${d.host}/healthz`)).status, 400)
  const c = await client(t, d.ws, { ca: pki.ca })
  await c.received(1)
  const raw = await tlsConnect(t, d)
  raw.socket.write(request('GET /healthz HTTP/1.1'))
  const [answer] = await once(raw.socket, 'data')
  assert.match(answer.toString(), /^HTTP\/1\.1 200 /)
  await once(raw.socket, 'end')   // after close_notify
  assert.deepEqual([(await d.stop()).code, await c.closed], [0, { code: 1001, reason: '' }])
})

// Each of these is a TLS record of its own, and brings nothing: neither may keep the loop, so that
// others get their snapshots while it comes without end.
const NOTHING = {
  'messages of no bytes': [[0x81, 0x80, 1, 2, 3, 4]],
  'fragments of no bytes, of a message that never ends': [[0x01, 0x80, 1, 2, 3, 4], [0x00, 0x80, 1, 2, 3, 4]]
}
for (const [name, frames] of Object.entries(NOTHING)) {
  test(`over TLS, ${name}`, async t => {
    const d = await secured(t, SHORT)
    const socket = tls.connect({ port: d.port, host: '127.0.0.1', ca: pki.ca, servername: 'localhost' })
    t.after(() => socket.destroy())
    await once(socket, 'secureConnect')
    socket.write(handshake())
    await once(socket, 'data')
    socket.resume()
    let over = false, written = 0
    const flood = () => {
      let room = true
      for (let i = 0; room && i < 1000; i++) room = socket.write(Buffer.from(frames[Math.min(written++, frames.length - 1)]))
      if (over) return
      if (room) setImmediate(flood)
      else socket.once('drain', flood)
    }
    flood()
    const c = await client(t, d.ws, { ca: pki.ca })
    await c.received(1)
    const before = written
    for (let i = 0; i < 20 || written <= before + 1000; i++) await c.next()
    assert.equal(socket.readyState, 'open')
    over = true
  })
}
