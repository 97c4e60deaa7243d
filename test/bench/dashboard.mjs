// What a snapshot costs the dashboard in Chromium, from a real daemon: decoding,
// beside protobufjs, and then the whole of its main thread, in each view.
import { readFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { chromium } from 'playwright-core'
import { cpu, longestTask, published } from '../browser/browser.mjs'
import { fullState, pageFolder } from '../dashboard/page.mjs'
import { schema, ServerMessage } from '../integration/daemon.mjs'

const SIZES = [[100, 1], [1000, 1], [10_000, 1], [10_000, 50]]   // connections, of which one of so many differs
const VIEWS = ['overview', 'peers', 'connections', 'streams', 'swarm']
const COMPARED = 'by=10m&vs=2000'   // with what was 2 s earlier, so that neither range is as it was
const INTERVAL = 500   // ms
const SNAPSHOTS = 6    // in each view
const ROUNDS = 20      // of decoding

const protobufjs = await readFile(createRequire(import.meta.url).resolve('protobufjs/dist/protobuf.min.js'), 'utf8')

const timeOf = ms => Buffer.from(Array.from({ length: 6 }, (_, i) => Math.floor(ms / 128 ** i) % 128 + (i < 5 ? 128 : 0)))

// Three states that differ in every connection, or in one of some, as those of a live node do; their
// time is put in when they are asked for.
const statesOf = (count, some) => [1, 2, 3].map(n => {
  const message = fullState(0, count)
  message.state.instantTs = 1700000000_123   // no other time is that
  for (const [i, c] of message.state.subsystems.connections.entries()) {
    if ((i + n) % some === 0) {
      c.traffic.trafficIn.instBw = (i * 7919 * n) % 100_003
      c.traffic.trafficIn.cumBytes += i * n
    }
  }
  delete message.state.runtime
  delete message.state.sequence
  const bytes = ServerMessage.encodeDelimited(ServerMessage.fromObject(message)).finish()
  const at = Buffer.from(bytes).indexOf(timeOf(message.state.instantTs))
  return () => { bytes.set(timeOf(Date.now()), at); return bytes }
})

// In the page: the current snapshot, and what decodes it.
async function prepare (schema) {
  const { decode } = await import('/decode.js')
  const type = window.protobuf.Root.fromJSON(schema).lookupType('introspection.ServerMessage')
  const bytes = await new Promise(resolve => {
    const socket = new WebSocket(location.origin.replace('http', 'ws'))
    socket.binaryType = 'arraybuffer'
    socket.onmessage = ({ data }) => { socket.close(); resolve(new Uint8Array(data)) }
  })
  window.decoders = { own: () => decode('ServerMessage', bytes), protobufjs: () => type.decode(bytes) }
  return bytes.length
}

// Of decoding once. In a page where nothing else runs.
async function decoding (context, url, schema) {
  const page = await context.newPage()
  // The daemon has these within app.js.
  await page.route(/\/(decode|schema)\.js$/, route => route.fulfill({ path: join(pageFolder, new URL(route.request().url()).pathname) }))
  await page.goto(`${url}healthz`)
  await page.evaluate(protobufjs)
  const size = await page.evaluate(prepare, schema)
  const spent = await cpu(page)
  const time = async name => {
    const run = () => page.evaluate(({ name, rounds }) => {
      for (let i = 0; i < rounds; i++) window.decoders[name]()
    }, { name, rounds: ROUNDS })
    await run()
    const before = await spent()
    await run()
    return ((await spent()).all - before.all) / ROUNDS
  }
  const own = await time('own')
  const other = await time('protobufjs')
  await page.close()
  return { size, own, other }
}

const shown = page => page.evaluate(() => Number(document.querySelector('.vitals dd')?.textContent.slice(1)))

async function until (page, sequence) {
  await page.waitForFunction(n => Number(document.querySelector('.vitals dd')?.textContent.slice(1)) >= n, sequence,
    { timeout: 60_000, polling: 100 })
}

// What the main thread did for some snapshots, in ms for each.
async function watch (page, spent, view, query = '') {
  await page.evaluate(hash => { location.hash = hash }, `#/${view}?${query}`)
  await until(page, await shown(page) + 2)
  const [from, before] = [await shown(page), await spent()]
  const longest = await longestTask(page, () => until(page, from + SNAPSHOTS))
  const [to, after] = [await shown(page), await spent()]
  const each = name => (after[name] - before[name]) / (to - from)
  return {
    all: each('all'),
    script: each('script'),
    layout: each('layout'),
    longest
  }
}

const row = (...cells) => console.log(cells.map((c, i) => i === 1
  ? c.padEnd(22)
  : (typeof c === 'number' ? c.toFixed(c < 10 ? 2 : 0) : c).padStart(11)).join(' '))

async function measure (browser, count, some) {
  const cleanups = []
  const d = await published({ after: f => cleanups.unshift(f) }, statesOf(count, some), ['--interval', `${INTERVAL}`])
  const context = await browser.newContext({ viewport: { width: 1280, height: 800 }, bypassCSP: true })
  const { size, own, other } = await decoding(context, d.url, schema.toJSON())
  const page = await context.newPage()
  await page.goto(d.url)
  await until(page, 2)
  const spent = await cpu(page)
  const show = async (view, name = view, query = '') => {
    const { all, script, layout, longest } = await watch(page, spent, view, query)
    row(`${count}${some > 1 ? `/${some}` : ''}`, name, size / 1000, own, other, own / other, script, layout, all, longest)
  }
  for (const view of VIEWS) await show(view)
  for (const view of some > 1 ? VIEWS : []) await show(view, `${view}, compared`, COMPARED)
  await context.close()
  await sleep(2 * INTERVAL)   // no State is cut short
  for (const f of cleanups) await f()
}

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
  args: ['--no-sandbox', '--disable-gpu', '--no-first-run', '--disable-background-networking']
})
console.log(`Dashboard, in Chromium ${browser.version()}: CPU ms of the page's main thread for each snapshot;\n` +
  'longest: its longest task. 10000/50: one of 50 connections differs from the snapshot before; compared:\n' +
  'what moved in 10 minutes with what did 2 s earlier')
row('connections', 'view', 'KB', 'decode', 'protobufjs', 'ratio', 'script', 'layout', 'all', 'longest')
for (const [count, some] of SIZES) await measure(browser, count, some)
await browser.close()
