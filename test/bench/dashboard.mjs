// What a snapshot costs the dashboard in Chromium, from a real daemon: decoding,
// beside protobufjs, and then the whole of its main thread, in each view.
import { readFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { chromium } from 'playwright-core'
import { cpu, longestTask, published } from '../browser/browser.mjs'
import { fullState, pageFolder } from '../dashboard/page.mjs'
import { schema, ServerMessage } from '../integration/daemon.mjs'

const SIZES = [[100, 1], [1000, 1], [10_000, 1], [10_000, 50]]   // connections, of which one of so many differs
const VIEWS = ['overview', 'peers', 'connections', 'streams', 'swarm']
const INTERVAL = 500   // ms
const SNAPSHOTS = 6    // in each view
const ROUNDS = 20      // of decoding

const protobufjs = await readFile(createRequire(import.meta.url).resolve('protobufjs/dist/protobuf.min.js'), 'utf8')

// Three states that differ in every connection, or in one of some, as those of a live node do.
const statesOf = (count, some) => [1, 2, 3].map(n => {
  const message = fullState(0, count)
  for (const [i, c] of message.state.subsystems.connections.entries()) {
    if ((i + n) % some === 0) c.traffic.trafficIn.instBw = (i * 7919 * n) % 100_003
  }
  delete message.state.runtime
  delete message.state.sequence
  return new Uint8Array(ServerMessage.encodeDelimited(ServerMessage.fromObject(message)).finish())
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
async function watch (page, spent, view) {
  await page.evaluate(name => { location.hash = `#/${name}` }, view)
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
  ? c.padEnd(12)
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
  for (const view of VIEWS) {
    const { all, script, layout, longest } = await watch(page, spent, view)
    row(`${count}${some > 1 ? `/${some}` : ''}`, view, size / 1000, own, other, own / other, script, layout, all, longest)
  }
  await context.close()
  for (const f of cleanups) await f()
}

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
  args: ['--no-sandbox', '--disable-gpu', '--no-first-run', '--disable-background-networking']
})
console.log(`Dashboard, in Chromium ${browser.version()}: CPU ms of the page's main thread for each snapshot;\n` +
  'longest: its longest task. 10000/50: one of 50 connections differs from the snapshot before')
row('connections', 'view', 'KB', 'decode', 'protobufjs', 'ratio', 'script', 'layout', 'all', 'longest')
for (const [count, some] of SIZES) await measure(browser, count, some)
await browser.close()
