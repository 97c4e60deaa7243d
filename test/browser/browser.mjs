// A real browser, and what the tests of the page share. BROWSER=firefox is Firefox, by WebDriver
// BiDi, else it is Chromium.
import assert from 'node:assert/strict'
import { mkdirSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import net from 'node:net'
import { join } from 'node:path'
import { after, before } from 'node:test'
import { chromium, firefox } from 'playwright-core'
import { build, daemon, folder, ServerMessage } from '../integration/daemon.mjs'

const AXE = createRequire(import.meta.url).resolve('axe-core/axe.min.js')
const screenshots = join(build, 'screenshots')
mkdirSync(screenshots, { recursive: true })

export const VIEWS = ['overview', 'peers', 'connections', 'streams', 'dht', 'topics', 'events', 'swarm', 'fleet']
export const sample = process.env.SAMPLE_RECORDING
export const needsSample = { skip: !sample && 'SAMPLE_RECORDING is not set' }

// ms: longer than the page's longest pause between two attempts to connect, and than a busy machine
// lets anything wait.
const PATIENCE = 90_000

export const isFirefox = process.env.BROWSER === 'firefox'
export const firefoxPath = process.env.FIREFOX ?? '/usr/bin/firefox-esr'
let browser

const startChromium = () => chromium.launch({
  executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
  args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
    '--disable-component-update', '--disable-sync', '--host-resolver-rules=MAP example.test 127.0.0.1, MAP node.example 127.0.0.1']
})

const implementation = started => started._connection.toImpl(started)

// Playwright asks for emulation that Firefox's ESR does not know, and can do without: the scheme
// is a preference of a browser of its own here.
async function startFirefox (scheme) {
  const started = await firefox.launch({
    channel: 'moz-firefox',
    executablePath: firefoxPath,
    firefoxUserPrefs: {
      'ui.prefersReducedMotion': 1, 'ui.systemUsesDarkTheme': scheme === 'dark' ? 1 : 0, 'dom.events.testing.asyncClipboard': true,
      'network.dns.localDomains': 'example.test,node.example'
    }
  })
  const session = Object.getPrototypeOf(implementation(started)._browserSession), { send } = session
  session.send = function (method, ...rest) {
    const answer = send.call(this, method, ...rest)
    return method.startsWith('emulation.') ? answer.catch(e => assert.match(e.message, /unknown command/)) : answer
  }
  return started
}

// Call once in a file of tests. The names example.test and node.example lead to this
// machine, so that a page can have an origin which is not local.
export function withBrowser () {
  before(async () => { browser = await (isFirefox ? startFirefox() : startChromium()) })
  // Firefox may take a minute to end in peace.
  after(() => isFirefox ? implementation(browser).options.browserProcess.kill() : browser.close())
}

// What browsers log of connections that could not be made; Firefox also that the page's policy
// forbids the styles of Playwright and axe.
const HARMLESS = /WebSocket connection|Failed to load resource|^Mixed Content|blocked by CORS policy/
const HARMLESS_IN_FIREFOX = /connection to the server at|connection to ws.* was interrupted|Cross-Origin|inline style \(style-src-elem\)/

// Calls opened, came and sent for what the sockets of the pull protocol do. Firefox does not tell:
// the page does.
async function watchSockets (page, { opened, came, sent }) {
  const isPull = url => new URL(url).pathname === '/'
  if (!isFirefox) {
    return page.on('websocket', socket => {
      if (!isPull(socket.url())) return
      opened(socket.url())
      socket.on('framereceived', ({ payload }) => came(socket.url(), payload))
      socket.on('framesent', sent)
    })
  }
  await page.exposeFunction('socketDid', (what, url, text) => {
    if (isPull(url)) ({ opened, came, sent })[what](url, text && Buffer.from(text, 'latin1'))
  })
  await page.addInitScript(() => {
    window.WebSocket = class extends WebSocket {
      constructor (...args) {
        super(...args)
        window.socketDid('opened', this.url)
        const text = data => Array.from(new Uint8Array(data), c => String.fromCharCode(c)).join('')
        this.addEventListener('message', ({ data }) => window.socketDid('came', this.url, text(data)))
      }

      send (data) {
        window.socketDid('sent', this.url)
        super.send(data)
      }
    }
  })
}

// A page of its own at an address; insecure: whatever its certificate. Any error in it fails the test, but for
// messages of the browser about connections that could not be made.
export async function open (t, url, { width = 1280, height = 800, scheme = 'light', init, insecure = false } = {}) {
  const context = await browser.newContext({
    viewport: { width, height }, colorScheme: scheme, reducedMotion: 'reduce', ignoreHTTPSErrors: insecure
  })
  if (!isFirefox) await context.grantPermissions(['clipboard-read', 'clipboard-write'])
  context.setDefaultTimeout(PATIENCE)
  const page = await context.newPage()
  const errors = []
  const harmless = isFirefox ? HARMLESS_IN_FIREFOX : HARMLESS
  page.on('pageerror', error => { if (!isFirefox || !harmless.test(error.message)) errors.push(error.stack ?? error.message) })
  page.on('console', message => {
    if (message.type() === 'error' && !harmless.test(message.text())) errors.push(message.text())
  })
  page.on('dialog', dialog => { errors.push(`dialog: ${dialog.message()}`); dialog.dismiss() })
  if (init) await page.addInitScript(init)
  // What goes over the wire of the pull protocol: sequence numbers that came
  // and an r for each ready, in order.
  page.wire = []
  page.differences = 0
  page.sockets = []   // addresses of the pull protocol's
  page.hear = () => {}   // called with the address and each State
  await watchSockets(page, {
    opened: url => page.sockets.push(url),
    came: (url, payload) => {
      const { state } = ServerMessage.decode(payload)
      page.wire.push(Number(state.sequence))
      page.differences += Number(state.base) > 0
      page.hear(url, state)
    },
    sent: () => page.wire.push('r')
  })
  t.after(async () => {
    await context.close()
    assert.deepEqual(errors, [], 'errors in the page')
  })
  await page.goto(url)
  return page
}

// Waits until something is true in the page: in each frame, and by a timer, since a browser that gets no
// processor may draw none.
export const when = (page, f, arg) => Promise.any([page.waitForFunction(f, arg), page.waitForFunction(f, arg, { polling: 1000 })])
  .catch(({ errors }) => { throw errors[0] })

export const hasText = (page, selector, text) =>
  when(page, ([s, t]) => [...document.querySelectorAll(s)].some(el => el.textContent.includes(t)), [selector, text])

export const snapshot = page => when(page, () => document.querySelector('.handle'))

export const show = async (page, view) => {
  await page.evaluate(name => { location.hash = `#/${name}` }, view)
  await when(page, name => document.querySelector('nav [aria-current]')?.getAttribute('href').startsWith(`#/${name}`), view)
}

export const screenshot = (page, name) => page.screenshot({ path: join(screenshots, `${name}.png`) })

// Of Chromium, which counts the CPU of a page's main thread, whatever else the machine does. Resolves
// with a function that tells it, in ms since the page began.
export async function cpu (page) {
  const cdp = await page.context().newCDPSession(page)
  await cdp.send('Performance.enable', { timeDomain: 'threadTicks' })
  return async () => {
    const { metrics } = await cdp.send('Performance.getMetrics')
    const ms = name => metrics.find(m => m.name === name).value * 1000
    return { all: ms('TaskDuration'), script: ms('ScriptDuration'), layout: ms('LayoutDuration') + ms('RecalcStyleDuration') }
  }
}

// CPU ms of the longest task of that thread while f runs.
export async function longestTask (page, f) {
  const chromium = page.context().browser()
  await chromium.startTracing(page, { categories: ['toplevel', 'disabled-by-default-devtools.timeline', '__metadata'] })
  await f()
  const { traceEvents } = JSON.parse(await chromium.stopTracing())
  const main = new Set(traceEvents.filter(e => e.name === 'thread_name' && e.args.name === 'CrRendererMain').map(e => `${e.pid} ${e.tid}`))
  const tasks = traceEvents.filter(e => /RunTask$/.test(e.name) && main.has(`${e.pid} ${e.tid}`))
  return tasks.reduce((n, e) => Math.max(n, (e.tdur ?? 0) / 1000), 0)
}

// Fails with what axe-core found against WCAG 2.2 A and AA and its best practices.
export async function accessible (page, where) {
  if (!await page.evaluate(() => 'axe' in window)) await page.evaluate(await readFile(AXE, 'utf8'))
  const violations = await page.evaluate(async () => (await window.axe.run()).violations.map(v => ({
    rule: v.id, help: v.help, nodes: v.nodes.slice(0, 3).map(n => `${n.html} ${n.failureSummary}`)
  })))
  assert.deepEqual(violations, [], where)
}

// Nothing is beyond the screen, nor cut in the lines that do not scroll.
export async function noOverflow (page, where) {
  assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= window.innerWidth), `${where} is wider than the screen`)
  const cut = await page.evaluate(() => [...document.querySelectorAll('.title, .tools, .values')].filter(e => e.scrollWidth > e.clientWidth).map(e => e.textContent))
  assert.deepEqual(cut, [], `${where}: cut`)
}

// TCP connections of this process over which a known number of bytes went, so
// that the kernel has something to tell.
export async function traffic (t, count) {
  const server = net.createServer(socket => socket.on('data', data => socket.write(data)).on('error', () => {}))
  await new Promise(resolve => server.listen(0, '127.0.0.1', resolve))
  const sockets = await Promise.all(Array.from({ length: count }, (_, i) => new Promise(resolve => {
    const socket = net.connect(server.address().port, '127.0.0.1', () => socket.write(Buffer.alloc(1000 * (i + 1))))
    let left = 1000 * (i + 1)
    socket.on('data', data => { left -= data.length; if (!left) resolve(socket) })
  })))
  t.after(() => {
    for (const socket of sockets) socket.destroy()
    server.close()
  })
  return sockets
}

// A port of 127.0.0.1 at which nobody listens as long as the test runs: a connection's own end.
export async function silentPort (t) {
  const server = net.createServer()
  await new Promise(resolve => server.listen(0, '127.0.0.1', resolve))
  const socket = net.connect(server.address().port, '127.0.0.1')
  t.after(() => { socket.destroy(); server.close() })
  await new Promise(resolve => socket.once('connect', resolve))
  return socket.localPort
}

// A daemon that shows the TCP connections of this process.
export const watched = (t, ...options) => daemon(t, ['--pid', `${process.pid}`, ...options], { expect: [/^watching /] })

// A daemon whose node is this test: says its runtime, then for every `r` the next of the
// states, which may be functions of how many came before, and all of the events.
export async function published (t, messages, options = []) {
  const path = join(folder(t), 'feed')
  const d = await daemon(t, ['--feed', path, '--interval', '1000', ...options], { expect: [/^feed_(connected|disconnected)$/] })
  await fetch(`${d.url}healthz`)
  const node = net.connect(path)
  const send = m => node.write(m instanceof Uint8Array ? m : ServerMessage.encodeDelimited(ServerMessage.fromObject(m)).finish())
  const states = messages.filter(m => m.state || m instanceof Uint8Array || typeof m === 'function')
  messages.filter(m => m.runtime).forEach(send)
  let n = 0
  node.on('data', () => {
    const next = states[n % states.length]
    send(typeof next === 'function' ? next(n) : next)
    n++
    messages.filter(m => m.event).forEach(send)
  })
  node.on('error', () => {})
  t.after(() => node.destroy())
  return d
}
