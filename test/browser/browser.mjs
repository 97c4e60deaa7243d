// A real Chromium, and what the tests of the page share.
import assert from 'node:assert/strict'
import { mkdirSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import net from 'node:net'
import { join } from 'node:path'
import { after, before } from 'node:test'
import { chromium } from 'playwright-core'
import { build, daemon, folder, ServerMessage } from '../integration/daemon.mjs'

const AXE = createRequire(import.meta.url).resolve('axe-core/axe.min.js')
const screenshots = join(build, 'screenshots')
mkdirSync(screenshots, { recursive: true })

export const VIEWS = ['overview', 'peers', 'connections', 'streams', 'dht', 'topics', 'events', 'swarm', 'fleet']
export const sample = process.env.SAMPLE_RECORDING
export const needsSample = { skip: !sample && 'SAMPLE_RECORDING is not set' }

let chrome

// Call once in a file of tests. The names example.test and node.example lead to this
// machine, so that a page can have an origin which is not local.
export function withBrowser () {
  before(async () => {
    chrome = await chromium.launch({
      executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
      args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
        '--disable-component-update', '--disable-sync', '--host-resolver-rules=MAP example.test 127.0.0.1, MAP node.example 127.0.0.1']
    })
  })
  after(() => chrome.close())
}

// A page of its own at an address; insecure: whatever its certificate. Any error in it fails the test, but for
// messages of the browser about connections that could not be made.
export async function open (t, url, { width = 1280, height = 800, scheme = 'light', init, insecure = false } = {}) {
  const context = await chrome.newContext({
    viewport: { width, height }, colorScheme: scheme, reducedMotion: 'reduce', ignoreHTTPSErrors: insecure
  })
  await context.grantPermissions(['clipboard-read', 'clipboard-write'])
  const page = await context.newPage()
  const errors = []
  page.on('pageerror', error => errors.push(error.stack))
  page.on('console', message => {
    if (message.type() === 'error' && !/WebSocket connection|Failed to load resource|^Mixed Content|blocked by CORS policy/.test(message.text())) errors.push(message.text())
  })
  page.on('dialog', dialog => { errors.push(`dialog: ${dialog.message()}`); dialog.dismiss() })
  if (init) await page.addInitScript(init)
  // What goes over the wire of the pull protocol: sequence numbers that came
  // and an r for each ready, in order.
  page.wire = []
  page.differences = 0
  page.sockets = []   // addresses of the pull protocol's
  page.on('websocket', socket => {
    if (new URL(socket.url()).pathname !== '/') return
    page.sockets.push(socket.url())
    socket.on('framereceived', ({ payload }) => {
      const { state } = ServerMessage.decode(payload)
      page.wire.push(Number(state.sequence))
      page.differences += Number(state.base) > 0
    })
    socket.on('framesent', () => page.wire.push('r'))
  })
  t.after(async () => {
    await context.close()
    assert.deepEqual(errors, [], 'errors in the page')
  })
  await page.goto(url)
  return page
}

// Waits until something is true in the page, longer than its longest pause between two attempts
// to connect.
export const when = (page, f, arg) => page.waitForFunction(f, arg, { timeout: 45000 })

export const hasText = (page, selector, text) =>
  when(page, ([s, t]) => [...document.querySelectorAll(s)].some(el => el.textContent.includes(t)), [selector, text])

export const snapshot = page => when(page, () => document.querySelector('.handle'))

export const show = async (page, view) => {
  await page.evaluate(name => { location.hash = `#/${name}` }, view)
  await when(page, name => document.querySelector('nav [aria-current]')?.getAttribute('href').startsWith(`#/${name}`), view)
}

export const screenshot = (page, name) => page.screenshot({ path: join(screenshots, `${name}.png`) })

// Fails with what axe-core found against WCAG 2.2 A and AA and its best practices.
export async function accessible (page, where) {
  if (!await page.evaluate(() => 'axe' in window)) await page.evaluate(await readFile(AXE, 'utf8'))
  const violations = await page.evaluate(async () => (await window.axe.run()).violations.map(v => ({
    rule: v.id, help: v.help, nodes: v.nodes.slice(0, 3).map(n => `${n.html} ${n.failureSummary}`)
  })))
  assert.deepEqual(violations, [], where)
}

export const noOverflow = async (page, where) =>
  assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= window.innerWidth), `${where} is wider than the screen`)

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
