// How the page finds, keeps, loses and finds again a daemon.
import assert from 'node:assert/strict'
import { createServer } from 'node:http'
import { rmSync, writeFileSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import net from 'node:net'
import { join } from 'node:path'
import { test } from 'node:test'
import { client, daemon, folder, undisturbed } from '../integration/daemon.mjs'
import { makePki } from '../integration/pki.mjs'
import { load, pageFolder } from '../dashboard/page.mjs'
import { hasText, open, published, show, silentPort, snapshot, when, withBrowser } from './browser.mjs'

withBrowser()
const limit = { timeout: 240000 }

const TYPES = { html: 'text/html', css: 'text/css', js: 'text/javascript', svg: 'image/svg+xml' }

// The page from a static web server, as a developer would serve it.
async function staticServer (t) {
  const server = createServer(async ({ url }, response) => {
    const name = url === '/' ? 'index.html' : url.slice(1)
    try {
      response.setHeader('Content-Type', TYPES[name.split('.').pop()] ?? 'text/plain')
      response.end(await readFile(join(pageFolder, name)))
    } catch {
      response.writeHead(404).end()
    }
  })
  await new Promise(resolve => server.listen(0, '127.0.0.1', resolve))
  t.after(() => { server.close(); server.closeAllConnections() })
  return server.address().port
}

const isFree = (port, host) => new Promise(resolve => {
  const server = net.createServer().on('error', () => resolve(false)).listen(port, host, () => server.close(() => resolve(true)))
})

const connected = (page, host) => hasText(page, '.state.open', `Connected to ${host}`)
const connect = async (page, address) => {
  await page.fill('[name=address]', address)
  await page.press('[name=address]', 'Enter')
}

test('served by a daemon, the page connects to it at once and follows', limit, async t => {
  const d = await daemon(t, ['--interval', '50'])
  const page = await open(t, d.url)
  await connected(page, d.host)
  await when(page, () => Number(document.querySelector('.vitals dd')?.textContent.slice(1)) > 5)
  for (const word of ['Snapshot#', 'Last', 'Skipped', 'Size', 'Rate']) assert.ok((await page.textContent('.vitals')).includes(word), word)
})

// In the page: what it showed at the moment it said that it was ready.
const watchReady = () => {
  window.readies = []
  const send = WebSocket.prototype.send
  WebSocket.prototype.send = function (data) {
    if (new URL(this.url).pathname === '/') window.readies.push(Number(document.querySelector('.vitals dd')?.textContent.slice(1)))
    return send.call(this, data)
  }
}

// In the page: who is asked whether it is a daemon does not answer.
const keepSilent = () => {
  const { fetch } = window
  window.fetch = (url, settings) => !`${url}`.endsWith('/healthz') ? fetch(url, settings)
    : new Promise((resolve, reject) => settings.signal.addEventListener('abort', () => reject(settings.signal.reason)))
}

test('a daemon that is slow to answer is not left for another one of the same machine', limit, async t => {
  const d = await daemon(t)
  const page = await open(t, d.url, { init: keepSilent })
  await connected(page, d.host)
  assert.deepEqual(page.sockets, [d.ws])
})

test('ready is said once for each snapshot, and only when that one is on the screen', limit, async t => {
  const d = await daemon(t, ['--interval', '50'])
  const page = await open(t, d.url, { init: watchReady })
  await when(page, () => window.readies.length >= 20)
  const readies = await page.evaluate(() => window.readies)
  const wire = page.wire.slice(0, 40)
  const came = wire.filter(Number.isInteger)
  assert.deepEqual(wire, came.flatMap(n => [n, 'r']).slice(0, wire.length), 'one ready after each snapshot')
  assert.deepEqual(readies.slice(0, came.length), came, 'shown before ready')
})

test('a page that is busy skips snapshots, counts them, and gets the newest', limit, async t => {
  const d = await daemon(t, ['--interval', '50'])
  const other = await client(t, d.ws)   // asks for every snapshot, so that they are taken
  let on = true
  const pulling = (async () => { while (on) await other.next() })()
  const page = await open(t, d.url)
  await when(page, () => Number(document.querySelector('.vitals dd')?.textContent.slice(1)) > 3)
  // Busy until the other has got so many snapshots meanwhile.
  for (let ms = 1500, meanwhile = 0; meanwhile < 15; ms *= 2) {
    const from = other.snapshots.length
    await page.evaluate(ms => { const end = performance.now() + ms; while (performance.now() < end); }, ms)
    meanwhile = other.snapshots.length - from
  }
  await when(page, () => Number(/Skipped(\d+)/.exec(document.querySelector('.vitals').textContent)[1]) >= 10)
  on = false
  await pulling
  const came = page.wire.filter(Number.isInteger)
  const largest = Math.max(...came.slice(1).map((n, i) => n - came[i]))
  assert.ok(largest > 10, `the largest step is ${largest}`)
  assert.equal(page.wire.filter(x => x === 'r').length, came.length - (page.wire.at(-1) === 'r' ? 0 : 1))
})

test('a hidden page asks rarely, and at once when it is seen again', limit, async t => {
  const d = await daemon(t, ['--interval', '50'])
  const page = await open(t, d.url)
  await when(page, () => Number(document.querySelector('.vitals dd')?.textContent.slice(1)) > 3)
  const hide = hidden => page.evaluate(value => {
    Object.defineProperty(document, 'hidden', { value, configurable: true })
    document.dispatchEvent(new Event('visibilitychange'))
  }, hidden)
  await hide(true)
  await when(page, last => performance.now() - last > 2000, await page.evaluate(() => performance.now()))
  const before = page.wire.length
  await when(page, last => performance.now() - last > 1000, await page.evaluate(() => performance.now()))
  assert.equal(page.wire.length, before, 'nothing was asked for meanwhile')
  await hide(false)
  await when(page, n => Number(document.querySelector('.vitals dd').textContent.slice(1)) > n + 3, page.wire.filter(Number.isInteger).at(-1))
})

const noFrames = () => { window.requestAnimationFrame = () => 0 }

test('a page that gets no frames, as in a window that nobody sees, shows and asks all the same', limit, async t => {
  const d = await daemon(t, ['--interval', '50'])
  const page = await open(t, d.url, { init: noFrames })
  await when(page, () => Number(document.querySelector('.vitals dd')?.textContent.slice(1)) > 2 && document.querySelector('.tiles'))
  await show(page, 'connections')
  await when(page, () => document.title.startsWith('Connections') && document.querySelector('.table'))
})

const hideable = `(${noFrames})()
window.hide = value => {
  Object.defineProperty(document, 'hidden', { value, configurable: true })
  document.dispatchEvent(new Event('visibilitychange'))
}
window.hide(true)`

test('a hidden tab tells by title and icon that something is wrong, and that it asks rarely is nothing wrong', limit, async t => {
  let used = 95
  const d = await published(t, [() => ({ state: { instantTs: Date.now(), resources: [{ scope: 'system', name: 'conns', used, limit: 100 }] } })], ['--interval', '100'])
  const page = await open(t, `${d.url}#/peers`, { init: hideable })
  await when(page, () => document.title.startsWith('⚠ Peers') && document.querySelector('link[rel=icon]').href.endsWith('alert.svg'))
  used = 1
  await page.evaluate(() => window.hide(false))
  await when(page, () => document.title.startsWith('Peers') && document.querySelector('link[rel=icon]').href.endsWith('icon.svg'))
  await page.evaluate(() => window.hide(true))
  while (page.wire.at(-1) === 'r') await new Promise(resolve => setTimeout(resolve, 20))
  // A minute in which the page has a snapshot and asks for no other.
  await page.evaluate(() => { const { now } = Date; Date.now = () => now() + 60_000 })
  await page.evaluate(() => { location.hash = '#/topics' })
  await when(page, () => document.title.includes('Topics'))
  assert.ok(!(await page.title()).includes('⚠'), await page.title())
  await d.stop()
  await when(page, () => document.title.startsWith('⚠ Topics'))
})

test('another daemon: by typing, remembered, part of the address, linked, and back', limit, async t => {
  const a = await daemon(t)
  const b = await daemon(t, ['--allow-origin', a.url.slice(0, -1)])
  const page = await open(t, `${a.url}#/connections`)
  await connected(page, a.host)
  await connect(page, b.host)
  await connected(page, b.host)
  const hash = new URL(page.url()).hash
  assert.match(hash, /^#\/connections\?at=/)
  assert.ok(decodeURIComponent(hash).includes(b.ws))
  await show(page, 'swarm')
  assert.ok(decodeURIComponent(page.url()).includes(b.ws), 'other views keep it')
  await page.reload()
  await connected(page, b.host)
  assert.deepEqual(await page.$$eval('datalist option', options => options.map(o => o.value)), [b.ws])
  const linked = await open(t, `${a.url}${hash}`)
  await connected(linked, a.host)
  await hasText(linked, '.ask', b.ws)
  assert.deepEqual(linked.sockets, [a.ws], 'nothing goes to a linked daemon before a click')
  await linked.click('text=Connect to it')
  await connected(linked, b.host)
  await snapshot(linked)
  await linked.reload()
  await connected(linked, b.host)
  await connect(page, '')
  await connected(page, a.host)
  assert.ok(!page.url().includes('at='))
})

test('what is no address is said to be none, and changes nothing', limit, async t => {
  const d = await daemon(t)
  const page = await open(t, d.url)
  await connected(page, d.host)
  await connect(page, 'ftp://example.test')
  await hasText(page, '.wrong', 'ftp:// is not a scheme')
  await connected(page, d.host)
})

test('a daemon that refuses the origin: the page says so, and the option it names helps', limit, async t => {
  const port = await staticServer(t)
  const origin = `http://example.test:${port}`
  const d = await daemon(t, [], { expect: [/origin/i] })
  const page = await open(t, `${origin}/`)
  await connect(page, d.host)
  // The browser lets it load nothing, so that it cannot tell refused from absent.
  await hasText(page, 'main', 'lets in no page of this origin')
  const command = await page.textContent('main .code')
  assert.equal(command, `introspectd --listen ${d.host} --allow-origin ${origin}`)
  await page.click('main .code')
  assert.equal(await page.evaluate(() => navigator.clipboard?.readText()) ?? command, command)
  await d.stop()
  await daemon(t, command.split(' ').slice(1))
  await connected(page, d.host)
  await snapshot(page)
})

test('another daemon of this machine lets the page in by the option that the page names', limit, async t => {
  const [a, b] = [await daemon(t), await daemon(t, [], { expect: [/origin/i] })]
  const page = await open(t, a.url)
  await connected(page, a.host)
  await connect(page, b.host)
  await hasText(page, 'main', 'lets in no page of this origin')
  const command = await page.textContent('main .code')
  assert.equal(command, `introspectd --listen ${b.host} --allow-origin ${a.url.slice(0, -1)}`)
  await b.stop()
  await daemon(t, command.split(' ').slice(1))
  await connected(page, b.host)
})

test('nothing there: the page says what to run', limit, async t => {
  const port = await staticServer(t)
  const free = await silentPort(t)
  const page = await open(t, `http://127.0.0.1:${port}/`)
  await connect(page, `127.0.0.1:${free}`)
  await hasText(page, 'main', `Nothing answers at 127.0.0.1:${free}`)
  await hasText(page, 'main .code', `introspectd --listen 127.0.0.1:${free} --allow-origin http://127.0.0.1:${port}`)
  await hasText(page, '.state.lost', 'Retry in')
})

// In the page: who asks whether the page's own server is a daemon waits for answerNow().
const holdAnswer = () => {
  const { fetch } = window
  const answered = new Promise(resolve => { window.answerNow = resolve })
  window.fetch = async (url, settings) => { await answered; return fetch(url, settings) }
}

test('an address typed while the page looks for a daemon is what was typed', limit, async t => {
  const port = await staticServer(t)
  const free = await silentPort(t)
  const page = await open(t, `http://127.0.0.1:${port}/`, { init: holdAnswer })
  await page.focus('[name=address]')
  await page.evaluate(() => window.answerNow())
  await when(page, () => !document.querySelector('.state').textContent.includes('Looking for'))
  await page.keyboard.insertText(`127.0.0.1:${free}`)
  await page.keyboard.press('Enter')
  await hasText(page, 'main', `Nothing answers at 127.0.0.1:${free}`)
})

test('an address that was only looked at follows the page again', limit, async t => {
  const port = await staticServer(t)
  const page = await open(t, `http://127.0.0.1:${port}/`, { init: holdAnswer })
  await page.focus('[name=address]')
  await page.keyboard.press('Tab')
  await page.evaluate(() => window.answerNow())
  await when(page, () => document.querySelector('[name=address]').value)
})

for (const host of ['127.0.0.1', '[::1]']) {
  test(`served from elsewhere, the page finds ${host}:4801 by itself`, limit, async t => {
    if (!await isFree(4801, '127.0.0.1') || !await isFree(4801, '::1')) return t.skip('port 4801 is taken')
    const port = await staticServer(t)
    // pages of other tests look there, too
    await daemon(t, ['--listen', `${host}:4801`, '--allow-origin', `http://localhost:${port}`], { expect: [/^refused status=403 .*Origin/] })
    const page = await open(t, `http://localhost:${port}/`)
    await connected(page, `${host}:4801`)
    await snapshot(page)
    assert.ok(!page.url().includes('at='))
  })
}

test('after a restart of the daemon the page comes back by itself; until then it looks stale', limit, async t => {
  const d = await daemon(t, ['--interval', '50'])
  const page = await open(t, d.url)
  await when(page, () => Number(document.querySelector('.vitals dd')?.textContent.slice(1)) > 3)
  await d.stop()
  await when(page, () => document.body.classList.contains('stale'))
  await hasText(page, '.problem', 'Last snapshot')
  await hasText(page, '.state.lost', 'Retry in')
  const held = Number(await page.getAttribute('.handle', 'aria-valuemax'))
  await daemon(t, ['--listen', d.host, '--interval', '50'])
  await connected(page, d.host)
  await when(page, n => Number(document.querySelector('.handle').getAttribute('aria-valuemax')) > n, held)
  await when(page, () => !document.body.classList.contains('stale') && !document.querySelector('.problem'))
  assert.ok(Number(/Skipped(\d+)/.exec(await page.textContent('.vitals'))[1]) < 20, 'what the old daemon had is not counted as skipped')
})

const TOKEN = 'correct-horse.battery_staple~1'
const tokenFile = t => {
  const file = join(folder(t), 'token')
  writeFileSync(file, `${TOKEN}\n`, { mode: 0o600 })
  return file
}
const useToken = async (page, token) => {
  await page.fill('[name=token]', token)
  await page.press('[name=token]', 'Enter')
}

test('a daemon that wants a token: the page asks for it and keeps it for the session', limit, async t => {
  const d = await daemon(t, ['--token-file', tokenFile(t)], { expect: [/token/] })
  const page = await open(t, d.url)
  await hasText(page, 'main', 'wants a token')
  const asked = page.sockets.length
  await useToken(page, 'too short')
  await hasText(page, '.token .wrong', '16 to 256')
  await useToken(page, 'wrong-horse.battery_staple~1')
  await hasText(page, 'main', 'was not accepted')
  assert.equal(page.sockets.length, asked + 1, 'nothing is tried without a word of the user')
  await useToken(page, TOKEN)
  await connected(page, d.host)
  await snapshot(page)
  await page.reload()
  await connected(page, d.host)
  assert.ok(!page.url().includes('correct'), 'it stands in no address')
  assert.ok(!d.lines.some(line => line.includes('correct')), 'nor in a log')
})

test('a token that is typed while the page is still connecting counts at once', limit, async t => {
  const d = await daemon(t, ['--token-file', tokenFile(t)], { expect: [/token/] })
  const { port, held } = await relay(t, d.port)
  const page = await open(t, `http://127.0.0.1:${port}/`)
  // After 8 s without an answer the page no longer thinks that a token is what is missing.
  const asked = await undisturbed(async () => {
    held.answers = false
    await hasText(page, 'main', 'wants a token')
    await page.locator('text=Try again').waitFor()
    held.answers = true
    await page.click('text=Try again')
    await hasText(page, '.state.busy', 'Connecting')
    await page.fill('[name=token]', TOKEN, { timeout: 5000 }).catch(() => {})
    const asked = page.sockets.length
    const went = await page.evaluate(() => {
      const form = document.querySelector('.state.busy') && document.querySelector('.token')
      form?.requestSubmit()
      return form != null
    })
    return went ? asked : undefined
  })
  while (page.sockets.length === asked) await new Promise(resolve => page.once('websocket', resolve))
  held.answers = false
  await connected(page, `127.0.0.1:${port}`)
})

// TCP to a port of this machine; what comes back is held while held.answers, and nothing
// at all passes while held.all.
async function relay (t, to) {
  const held = { answers: false, all: false }
  const sockets = new Set()
  const server = net.createServer(near => {
    if (held.all) return sockets.add(near)
    const far = net.connect(to, '127.0.0.1')
    for (const s of [near, far]) {
      sockets.add(s)
      s.on('error', () => {}).on('close', () => { if (!held.all) { near.destroy(); far.destroy() } })
    }
    near.on('data', data => { if (!held.all) far.write(data) })
    far.on('data', data => { if (!held.all && !held.answers) near.write(data) })
  })
  await new Promise(resolve => server.listen(0, '127.0.0.1', resolve))
  t.after(() => { for (const s of sockets) s.destroy(); server.close() })
  return { port: server.address().port, held }
}

test('a token typed for wss:// is not shown to ws:// on the same host', limit, async t => {
  const { offers, keepToken } = await load('connection.js')
  assert.ok(keepToken('wss://node.example/', TOKEN))
  assert.deepEqual(offers('wss://node.example/introspect'), ['introspect', `introspect.token.${TOKEN}`])
  for (const other of ['ws://node.example/', 'wss://node.example:4801/', 'wss://example/'])
    assert.deepEqual(offers(other), [], other)
})

test('a network that drops silently is noticed, and the page comes back by itself', limit, async t => {
  const d = await daemon(t, ['--interval', '50'])
  const { port, held } = await relay(t, d.port)
  const page = await open(t, `http://127.0.0.1:${port}/`)
  await connected(page, `127.0.0.1:${port}`)
  await snapshot(page)
  held.all = true
  await hasText(page, '.problem', 'nothing answers there any more')
  await hasText(page, '.state.lost', 'Not connected')
  held.all = false
  await connected(page, `127.0.0.1:${port}`)
})

test('when the table of clients is full, the page says so', limit, async t => {
  const d = await daemon(t, ['--max-clients', '1'])
  await client(t, d.ws)
  const page = await open(t, d.url)
  await hasText(page, 'main', '--max-clients')
  assert.ok(!await page.$('[name=token]'), 'a daemon that wants no token is not said to want one')
})

test('behind a proxy that rewrites Host, or passes no Upgrade on, the page says what to set', limit, async t => {
  const d = await daemon(t, [], { expect: [/origin/i] })
  const proxy = createServer(async (request, response) => {
    const answer = await fetch(`${d.url.slice(0, -1)}${request.url}`, { headers: { 'accept-encoding': 'gzip' }, method: request.method })
    response.writeHead(answer.status, { 'content-type': answer.headers.get('content-type') })
    response.end(Buffer.from(await answer.arrayBuffer()))
  })
  await new Promise(resolve => proxy.listen(0, '127.0.0.1', resolve))
  t.after(() => { proxy.close(); proxy.closeAllConnections() })
  const page = await open(t, `http://node.example:${proxy.address().port}/`)
  for (const text of ['proxy_set_header Host $http_host', 'ProxyPreserveHost On', 'Upgrade',
    `--public-url http://node.example:${proxy.address().port}`]) await hasText(page, 'main', text)
})

test('ws:// in a page that came by https: the page says why that cannot be', limit, async t => {
  const pki = makePki()
  t.after(() => rmSync(pki.path, { recursive: true }))
  const d = await daemon(t, ['--tls-cert', pki.file('server.pem'), '--tls-key', pki.file('server.key')], { expect: [/tls/] })
  const page = await open(t, d.url, { insecure: true })
  await connected(page, d.host)
  await connect(page, 'ws://example.test:9')
  await hasText(page, 'main', 'This page came by https')
  await connect(page, 'foo bar')
  await hasText(page, '.wrong', 'is not a host')
})
