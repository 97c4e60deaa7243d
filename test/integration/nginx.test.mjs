// Behind nginx, with the configuration that the README shows. NGINX names the program.
import assert from 'node:assert/strict'
import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import https from 'node:https'
import net from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test, { after, before } from 'node:test'
import WebSocket from 'ws'
import { hasText, open as openPage, snapshot, withBrowser } from '../browser/browser.mjs'
import { commandClient } from './command-client.mjs'
import { client, daemon, folder, root, ServerMessage } from './daemon.mjs'
import { encodeState, node } from './feed-node.mjs'

const nginx = [process.env.NGINX ?? '', join(root, process.env.SANDBOX_BUILD ?? 'build', 'nginx/usr/sbin/nginx'),
  '/usr/sbin/nginx'].find(existsSync)
const proxied = (name, run) => test(name, { skip: !nginx && 'no nginx: make test-deps' }, run)
const TOKEN = 'correct-horse.battery_staple~1'
const WRONG = 'correct-horse.battery_staple~2'
const HOUR = ['--interval', '3600000']
const SHORT = ['--interval', '10']

const readme = readFileSync(join(root, 'README.md'), 'utf8')
const [, example] = readme.match(/```nginx\n(.*?)```/s)
const [, options] = readme.match(/^ {4}introspectd (--listen \/run\/introspectd\/.*)$/m)
const [, SOCKET] = options.match(/--listen (\S+)/)
const [, NAME] = options.match(/--public-url https:\/\/(\S+)/)

function replace (text, from, to) {
  assert.ok(text.includes(from), `${from} is not in the README's example`)
  return text.replaceAll(from, to)
}

let identity   // a folder with a key and a certificate
before(() => {
  identity = mkdtempSync(join(tmpdir(), 'introspectd-'))
  execFileSync('openssl', ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-keyout', 'key',
    '-out', 'cert', '-days', '30', '-subj', `/CN=${NAME}`, '-addext', `subjectAltName=DNS:${NAME}`],
  { cwd: identity, stdio: 'pipe' })
})
after(() => rmSync(identity, { recursive: true, force: true }))

// nginx in one process, which is told where its files are; sites: the server blocks. Returns what ends it
// and checks that it had nothing to complain of.
async function startNginx (path, settings, sites) {
  const config = join(path, 'nginx.conf')
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map(name => `${name}_temp_path ${path}/${name};`)
  writeFileSync(config, `daemon off; master_process off; pid ${path}/pid; error_log stderr;
    events {} http { access_log off; ${temporary.join(' ')} ${settings} ${sites} }`)
  const child = spawn(nginx, ['-e', 'stderr', '-p', path, '-c', config], { stdio: ['ignore', 'inherit', 'pipe'] })
  let said = ''
  child.stderr.on('data', data => { said += data })
  const exit = once(child, 'exit')
  while (!existsSync(`${path}/nginx.sock`)) {
    assert.equal(child.exitCode, null, said)
    await new Promise(resolve => setTimeout(resolve, 10))
  }
  return async () => {
    const complaints = said.match(/.*\[(emerg|alert|crit)\].*/g)
    child.kill('SIGTERM')
    await exit
    assert.equal(complaints, null)
  }
}

// A port of this machine that leads to a Unix socket: nginx cannot be told to find one.
async function relay (t, path) {
  const server = net.createServer(socket => {
    const other = net.connect(path)
    socket.on('error', () => other.destroy()).pipe(other)
    other.on('error', () => socket.destroy()).pipe(socket)
    t.after(() => { socket.destroy(); other.destroy() })
  }).listen(0, '127.0.0.1').unref()
  await once(server, 'listening')
  t.after(() => server.close())
  return server.address().port
}

// The README's example, its paths filled in. more: options of the daemon; location:
// where it is put; settings: of nginx, beside the example; size: of the node's states;
// without: lines of the example and an option that are left out.
async function behind (t, more = [], { location = '/', settings = '', size = 0, expect = [], without = [] } = {}) {
  const path = folder(t)
  const socket = join(path, 'http.sock')
  const feed = join(path, 'feed')
  const port = await relay(t, join(path, 'nginx.sock'))
  let stopNginx
  t.after(() => stopNginx?.())   // before the daemon, which it would miss
  const own = replace(replace(options, SOCKET, socket), NAME, `${NAME}:${port}`)
    .split(/ (?=--)/).filter(option => !without.includes(option.split(' ')[0])).join(' ').split(' ')
  const d = await daemon(t, [...own, '--feed', feed, ...more], { expect: [/^feed_/, ...expect] })
  const fill = [[SOCKET, socket], ['listen 443', `listen unix:${path}/nginx.sock`], ['location / ', `location ${location} `],
    [/ssl_certificate (.*);/.exec(example)[1], join(identity, 'cert')],
    [/ssl_certificate_key (.*);/.exec(example)[1], join(identity, 'key')]]
  const lines = example.split('\n').filter(line => !without.some(name => line.includes(`proxy_set_header ${name} `)))
  stopNginx = await startNginx(path, settings, fill.reduce((text, [from, to]) => replace(text, from, to), lines.join('\n')))
  const { socket: says } = await node(t, { feed }, () => encodeState(size))
  says.write(ServerMessage.encodeDelimited({ runtime: { eventTypes: [{ name: 'Test' }] } }).finish())
  d.port = port
  d.origin = `https://${NAME}:${d.port}`
  d.ws = `wss://127.0.0.1:${d.port}${location}`
  d.page = `${d.origin}${location}`
  d.trust = { ca: readFileSync(join(identity, 'cert')), servername: NAME }
  // What a browser at this origin sends with its handshake.
  d.from = (origin = d.origin, headers = {}, protocols) =>
    ({ ...d.trust, headers: { Host: `${NAME}:${d.port}`, ...headers }, origin, protocols })
  d.get = (name, headers = {}) => new Promise((resolve, reject) => {
    https.get({
      port: d.port, host: '127.0.0.1', path: location + name, agent: false, ...d.trust, headers: { Host: `${NAME}:${d.port}`, ...headers }
    }, response => {
      let body = ''
      response.on('data', data => { body += data })
      response.on('end', () => resolve({ status: response.statusCode, headers: response.headers, body }))
    }).on('error', reject)
  })
  return d
}

// A client of the pull protocol that may offer subprotocols; the status it was
// refused with, or 101, and the ms that took.
function ask (t, d, { protocols = [], ...rest }) {
  const start = performance.now()
  const socket = new WebSocket(d.ws, protocols, rest)
  t.after(() => socket.terminate())
  const done = status => ({ status, ms: performance.now() - start })
  return new Promise((resolve, reject) => {
    socket.on('open', () => resolve(done(101)))
    socket.on('unexpected-response', (_, { statusCode }) => { resolve(done(statusCode)); socket.terminate() })
    socket.on('error', reject)
  })
}

withBrowser()

proxied('pages, snapshots and commands come through; who is let in is the daemon\'s to say', async t => {
  const d = await behind(t, SHORT, { expect: [/^refused status=403 peer=unix /] })
  const page = await d.get('', { 'Accept-Encoding': 'gzip' })
  assert.equal(page.status, 200)
  assert.equal(page.headers['content-encoding'], 'gzip')
  assert.match(page.headers['content-security-policy'], /default-src 'none'/)
  assert.equal((await d.get('healthz')).body, 'ok\n')
  assert.equal((await d.get('introspection.proto')).body, readFileSync(join(root, 'introspection.proto'), 'utf8'))

  const c = await client(t, d.ws, d.from())
  for (let i = 0; i < 20; i++) await c.next()
  const script = await client(t, d.ws, d.from(undefined))   // no browser, no Origin
  await script.next()
  const command = await commandClient(t, d.ws, d.from())
  await command.ok('HELLO')
  command.send('REQUEST', { source: 'STATE' })
  await command.count('states', 1)

  // A page of the visitor's own machine is a stranger here: what nginx passes on is
  // nobody's loopback, whatever the visitor says of himself.
  const claims = { 'X-Forwarded-For': '127.0.0.1', 'X-Real-IP': '127.0.0.1', Forwarded: 'for=127.0.0.1', 'X-Forwarded-Host': NAME }
  // And so is one that came without TLS: X-Forwarded-Proto is not believed.
  for (const origin of ['https://evil.example', `https://${NAME}:1`, `https://${NAME}.evil.example`, 'null', 'http://localhost:3000',
    d.origin.replace('https', 'http')]) {
    assert.equal((await ask(t, d, d.from(origin, { ...claims, 'X-Forwarded-Proto': 'http' }))).status, 403, origin)
  }
  assert.match(await d.line(/^refused /), /allow_with="--allow-origin" value="https:\/\/evil\.example"$/)
  const other = await behind(t, [...HOUR, '--allow-origin', 'https://watch.example'], { expect: [/^refused status=403 peer=unix /] })
  assert.equal((await ask(t, other, other.from('https://watch.example'))).status, 101)
  assert.equal((await other.get('', { Host: 'rebound.example' })).status, 403)
  assert.match(await other.line(/^refused /), /allow_with="--allow-host" value="rebound\.example"$/)
})

proxied('a browser\'s cookies, of all that is served at that name, do not count', async t => {
  const d = await behind(t, SHORT)
  const headers = { Cookie: `a=${'x'.repeat(9000)}` }   // nginx itself takes four lines of 8 KiB
  const get = cookie => d.get('healthz', cookie)
  assert.equal((await get({ Cookie: `a=${'x'.repeat(7900)}` })).body, 'ok\n')
  const c = await client(t, d.ws, d.from(d.origin, { Cookie: `a=${'x'.repeat(7900)}` }))
  await c.next()
  assert.equal((await get(headers)).status, 400)   // nginx's own
})

proxied('right tokens do not wait for the answers to a few wrong ones from the same proxy', async t => {
  const file = join(folder(t), 'token')
  writeFileSync(file, TOKEN, { mode: 0o600 })
  const d = await behind(t, ['--token-file', file, ...SHORT], { expect: [/^wrong_token peer=unix /] })
  const wrong = d.from(d.origin, {}, ['introspect', `introspect.token.${WRONG}`])
  const first = await ask(t, d, wrong)
  assert.equal(first.status, 401)
  assert.ok(first.ms >= 245, `${first.ms} ms`)
  const held = Array.from({ length: 5 }, () => ask(t, d, wrong))   // the last for 5 s
  let answered = 0
  held.forEach(one => one.then(() => answered++))
  await d.get('healthz')
  const right = await client(t, d.ws, d.from(d.origin, { Authorization: `Bearer ${TOKEN}` }))
  for (let i = 0; i < 5; i++) await right.next()
  assert.equal((await ask(t, d, d.from(d.origin, {}, ['introspect', `introspect.token.${TOKEN}`]))).status, 101)
  assert.ok(answered < held.length, 'the right tokens waited with the wrong ones')
  for (const { status } of await Promise.all(held)) assert.equal(status, 401)
})

proxied('a long silence ends nothing as long as --ping is shorter than the proxy\'s patience', async t => {
  const impatient = { settings: 'proxy_read_timeout 8s;' }
  const talking = await behind(t, [...HOUR, '--ping', '2'], impatient)
  const silent = await behind(t, HOUR, impatient)
  const start = performance.now()
  const [kept, cut] = await Promise.all([client(t, talking.ws, talking.from()), client(t, silent.ws, silent.from())])
  await Promise.all([kept.received(1), cut.received(1)])
  kept.ready()
  assert.equal((await cut.closed).code, 1006)
  assert.ok(performance.now() - start > 7500)
  await new Promise(resolve => setTimeout(resolve, 1500))
  assert.equal(kept.socket.readyState, WebSocket.OPEN)
  kept.socket.close(1000)
  assert.equal((await kept.closed).code, 1000)
})

proxied('a large snapshot, and goodbye to all', async t => {
  const d = await behind(t, SHORT, { size: 4 << 20 })
  const c = await client(t, d.ws, d.from())
  for (let i = 0; i < 3; i++) assert.ok((await c.next()) && c.raw[i].length > 4 << 20)
  await d.stop()
  assert.deepEqual(await c.closed, { code: 1001, reason: '' })
})

// nginx and Apache send a Host of their own when they are not told otherwise.
proxied('a proxy that rewrites Host: --public-url is enough, and without it the page loads and says what to set', async t => {
  const d = await behind(t, SHORT, { without: ['Host'], expect: [/^refused status=403 peer=unix /] })
  const served = await openPage(t, d.page, { insecure: true })
  await snapshot(served)
  await served.close()
  assert.equal((await ask(t, d, d.from(d.origin.replace('https', 'http')))).status, 403)
  const other = await behind(t, SHORT, { without: ['Host', '--public-url'], expect: [/^refused status=403 peer=unix /] })
  const page = await openPage(t, other.page, { insecure: true })
  await hasText(page, 'main', `--public-url ${other.origin}`)
  assert.match(await other.line(/^refused /), new RegExp(`allow_with="--allow-origin" value="${other.origin}"$`))
  await page.close()
})

proxied('the dashboard below a path', async t => {
  const d = await behind(t, SHORT, { location: '/node/' })
  const page = await openPage(t, d.page, { insecure: true })
  await hasText(page, 'body', NAME)
  const sockets = []
  page.on('websocket', socket => sockets.push(new URL(socket.url()).pathname))
  await page.reload()
  await snapshot(page)
  const expected = ['/node/', '/node/introspect']   // either of them again, if the proxy was slow
  while (!expected.every(path => sockets.includes(path))) await page.waitForEvent('websocket')
  assert.deepEqual(sockets.filter(path => !expected.includes(path)), [])
  await page.close()   // before the daemon is stopped, which nginx would complain of
})
