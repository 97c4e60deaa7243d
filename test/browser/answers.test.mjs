// What an operator asks, and in how many clicks the page answers.
import assert from 'node:assert/strict'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { daemon, folder } from '../integration/daemon.mjs'
import { accessible, hasText, isFirefox, noOverflow, open, published, screenshot, show, snapshot, VIEWS, when, withBrowser } from './browser.mjs'

withBrowser()
const limit = { timeout: 240000 }

const gauge = (bw, cum) => ({ instBw: bw, cumBytes: cum })
const now = () => Date.now()
const idOf = name => `12D3KooW${name}`.padEnd(44, 'x') + name.padStart(8, 'z')
const short = name => `12D3K…${name.padStart(8, 'z')}`
// One connection to a peer of that name.
const connection = (name, { bw = 0, cum = 0, transport = 'ip4+tcp', remote = '/ip4/147.75.1.9/tcp/4001', streams = [], ...more } = {}) => ({
  id: Buffer.from(name), peerId: idOf(name), agentVersion: 'kubo/0.29.0/x', transportId: Buffer.from(transport), latencyNs: 20e6,
  endpoints: { srcMultiaddr: '/ip4/10.0.0.1/tcp/4001', dstMultiaddr: remote },
  traffic: { trafficIn: gauge(bw, cum), trafficOut: gauge(0, 0) }, timeline: { openTs: now() - 3600_000 },
  streams: { streams: streams.map((protocol, i) => ({ id: Buffer.from(`${name}${i}`), protocol, traffic: { trafficIn: gauge(bw, cum) } })) }, ...more
})
const state = (connections, more) => ({ state: { instantTs: now(), subsystems: { connections, dht: more?.dht }, ...more } })
const FAST = ['--interval', '100']

const rows = page => page.$$eval('.tr', all => all
  .sort((a, b) => a.getAttribute('aria-rowindex') - b.getAttribute('aria-rowindex'))
  .map(r => ({ text: r.textContent, gone: r.classList.contains('gone') })))
const names = async (page, selector) => (await page.$$eval(selector, all => all.map(el => el.textContent.slice(-8)))).map(s => s.replace(/^z+/, ''))

// A node with every kind of thing about which is asked. `old` moved most so far, `fast` moves
// most now; one connection closes and another opens with every snapshot.
const full = n => state([
  connection('old', { cum: 9e9 }), connection('fast', { bw: 5e6, cum: 1e6 + n * 5e5, agentVersion: 'js-libp2p/3.1.0', streams: ['/ipfs/bitswap/1.2.0'] }),
  connection('quick', { bw: 2e6, cum: n * 2e5, transport: 'ip4+quic', remote: '/ip4/147.75.2.1/udp/4001/quic-v1', role: 1, streams: ['/ipfs/kad/1.0.0'] }),
  connection('hidden', { unlisted: true, peerId: '', remote: '/ip4/9.9.9.9/tcp/443' }), connection(`brief${n}`, { cum: 1000, closeReason: 'pruned' })
], {
  dht: { enabled: true, params: { k: 20 }, buckets: [{ cpl: 7, peers: [{ peerId: idOf('fast'), ageInBucket: 5000 }] }] },
  addresses: [{ multiaddr: '/ip4/147.75.9.9/tcp/4001', reachability: 'PUBLIC' }, { multiaddr: '/ip4/147.75.9.9/udp/4001/quic-v1', reachability: 'PUBLIC' }],
  topics: [{ name: 'weather', subscribers: 3, meshPeerIds: [idOf('fast')] }],
  resources: [{ scope: 'system', name: 'conns', used: 95, limit: 100 }]
})

test('each question has its answer within two clicks', limit, async t => {
  const d = await published(t, [full], FAST)
  const page = await open(t, d.url)
  await when(page, () => Number(document.querySelector('.handle')?.getAttribute('aria-valuemax')) > 3)
  // What is asked, the clicks from the overview, and what is then read where.
  const questions = [
    ['who uses my bandwidth now', [], '.card:has(h2:text("Top peers")) li:first-child', short('fast')],
    ['who used it in all', ['.switch button:text("total")'], '.card:has(h2:text("Top peers")) li:first-child', short('old')],
    ['who used it in 10 minutes', ['nav a:text("Peers")', '.switch button:text("10 min")'], '[aria-rowindex="2"]', short('fast')],
    ['which protocol', [], '.card:has(h2:text("Top protocols")) li:first-child', '/ipfs/bitswap/1.2.0'],
    ['who speaks it', ['.card:has(h2:text("Top protocols")) a:text("bitswap")', 'a:text("peers that speak it")'], '[aria-rowindex="2"]', short('fast')],
    ['what changed', [], '.card:has(h2:text("What changed"))', 'opened'],
    ['why do they close', ['.pill:has-text("Churn")'], '.evidence', 'pruned'],
    ['am I reachable', [], '.pill:has-text("Reachability")', 'reachable over TCP, QUIC'],
    ['why', ['.pill:has-text("Reachability")'], '.evidence', '2 addresses'],
    ['is it full', [], '.pill.bad:has-text("Connections")', 'nearly full'],
    ['which agents', ['.card:has(h2:text("Agents")) header a'], '.table', 'kubo 0.29.0'],
    ['which peers have that agent', ['.card:has(h2:text("Agents")) .legend a:has-text("js-libp2p")'], '.tools .aside', '1 of'],
    ['what is known of a peer', [`.card:has(h2:text("Top peers")) a:has-text("${short('fast')}")`], '.panel', 'bucket 7'],
    ['which sockets does the node not list', ['a:has-text("that the node does not list")'], '[aria-rowindex="2"]', '9.9.9.9'],
    ['who is connected over QUIC', ['.legend a:has-text("quic")'], '[aria-rowindex="2"]', short('quick')]
  ]
  for (const [question, clicks, where, answer] of questions) {
    assert.ok(clicks.length <= 2, question)
    await show(page, 'overview')
    for (const selector of clicks) await page.click(selector)
    await page.locator(where, { hasText: answer }).first().waitFor().catch(async () => {
      assert.fail(`${question}: ${answer} is not in ${await page.textContent('main')}`)
    })
  }
  assert.match(await page.title(), /^⚠ /)
  assert.equal(await page.getAttribute('link[rel=icon]', 'href'), 'alert.svg')
})

test('water marks and ages, as a bridge tells them of Kubo, are no limits', limit, async t => {
  const resources = [{ scope: 'age-seconds', name: 'dht', used: 30, limit: 30 }, { scope: 'system', name: 'conns', used: 5, limit: 100 },
    { scope: 'connection-manager', name: 'high-water', used: 2, limit: 30 }, { scope: 'connection-manager', name: 'low-water', used: 2, limit: 1 }]
  const d = await published(t, [() => state([connection('a'), connection('b')], { resources })], FAST)
  const page = await open(t, d.url)
  await snapshot(page)
  assert.match(await page.textContent('.pill.good:has-text("Connections")'), /2, high water 30$/)
  assert.match(await page.textContent('.resources'), /age-seconds dht30s old/)
  resources[2].limit = 1
  await hasText(page, '.pill.warn', '2, over high water 1')
})

test('a search finds a peer in every view, and the group of its network', limit, async t => {
  const d = await published(t, [full], FAST)
  const page = await open(t, d.url)
  await snapshot(page)
  await page.keyboard.press('/')
  await page.keyboard.type(idOf('fast'))
  await when(page, () => document.querySelector('.top').children.length === 1)
  for (const [view, found] of Object.entries({ peers: '1 of', connections: '1 of', streams: '1 of 2', dht: '1 peer', topics: '1 topic' })) {
    await page.click(`nav a:has-text("${view[0].toUpperCase()}${view.slice(1).replace('ht', 'HT')}")`)
    await hasText(page, '.tools .aside', found)
  }
  await page.click('nav a:has-text("Peers")')
  await page.fill('.search', '')
  await page.selectOption('[aria-label="group by"]', 'net24')
  for (const network of ['147.75.1.0/24', '147.75.2.0/24', '9.9.9.0/24']) await hasText(page, '[role=row]', network)
  await page.click('[role=row]:has-text("147.75.2.0/24")')
  await hasText(page, '.chip', '147.75.2.0/24')
  await hasText(page, '.tools .aside', '1 of')
})

test('peers by AS and country, where the operator gives a table', limit, async t => {
  const file = join(folder(t), 'networks')
  writeFileSync(file, '147.75.0.0/16 AS54825 US Packet\n147.75.2.0/24 AS64500 DE Example Net\n')
  const d = await published(t, [full], [...FAST, '--networks', file])
  const page = await open(t, `${d.url}#/peers`)
  await snapshot(page)
  await page.selectOption('[aria-label="group by"]', 'as')
  for (const text of ['AS54825 Packet', 'AS64500 Example Net', 'not in the table']) await hasText(page, '[role=row]', text)
  await page.selectOption('[aria-label="group by"]', 'country')
  await page.click('[role=row]:has-text("DE")')
  await hasText(page, '.chip', 'Country: DE')
  await hasText(page, '.tools .aside', '1 of')
  await hasText(page, '[role=row]', 'AS64500 Example Net DE')
  await page.click(`.tr:has-text("${short('quick')}")`)
  await hasText(page, '.panel', 'NetworkAS64500 Example Net DE')
  await page.click('text=Clear')
  await page.fill('.search', 'packet us')
  await hasText(page, '.tools .aside', ' of ')
  assert.ok((await rows(page)).every(r => r.text.includes('AS54825')))
  const without = await published(t, [full], FAST)
  const other = await open(t, `${without.url}#/peers`)
  await snapshot(other)
  assert.equal(await other.$('[aria-label="group by"] [value=as]'), null)
})

test('the address tells all that is chosen, and a copy of it shows the same', limit, async t => {
  const d = await published(t, [full], FAST)
  const page = await open(t, `${d.url}#/peers`)
  await snapshot(page)
  await page.fill('.search', 'kubo')
  await page.click('.switch button:text("total")')
  await page.click('.thead button:text("Peer")')
  await page.waitForSelector('[aria-sort=ascending]')   // a row's element may show another peer then
  await page.click(`.tr:has-text("${short('old')}")`)
  await hasText(page, '.panel', 'Peer ID')
  await page.click('text=Copy link')
  await hasText(page, '.toast', 'Copied')
  const link = await page.evaluate(() => navigator.clipboard.readText())
  const other = await open(t, link)
  await hasText(other, '.panel', short('old'))
  assert.equal(await other.inputValue('.search'), 'kubo')
  assert.equal(await other.textContent('.switch [aria-pressed=true]'), 'total')
  assert.equal(await other.textContent('[aria-sort=ascending]'), 'Peer')
  const early = await open(t, `${d.url}#/peers?t=${now() - 3600_000}`)
  await hasText(early, '.problem', 'is not held in this page')
  for (const end = early.wire.length + 6; early.wire.length < end;) await early.waitForTimeout(50)
  await hasText(early, '.problem', 'is not held in this page')
})

test('a click on a peer opens it and leaves the clipboard alone; closed ones have no rate', limit, async t => {
  const d = await published(t, [() => state([connection('open', { bw: 1000, cum: 1e6 }),
    connection('shut', { bw: 77777, cum: 2e6, status: 'CLOSED', streams: ['/echo/1.0.0'] }), connection('odd', { status: 77 })])], FAST)
  const page = await open(t, `${d.url}#/connections`)
  await snapshot(page)
  await page.evaluate(() => navigator.clipboard.writeText('mine'))
  await hasText(page, '[role=row]', short('shut'))
  const all = await rows(page)
  assert.ok(all.at(-1).text.includes(short('shut')) && all.at(-1).gone, 'what is closed comes last')
  assert.doesNotMatch(all.at(-1).text, /76\.0 KiB\/s/)
  assert.equal(await page.evaluate(() => getComputedStyle(document.querySelector('.dot.unknown')).backgroundColor), 'rgba(0, 0, 0, 0)', 'a status that is not known is not green')
  await page.click(`.tr:has-text("${short('shut')}") .id`)
  await hasText(page, '.panel', 'This connection is closed')
  await hasText(page, '.panel .streams .gone', '/echo/1.0.0')
  assert.ok(!(await page.textContent('.panel')).includes('KiB/s'))
  await page.click('.panel a:text("all about this peer")')
  await when(page, () => location.hash.startsWith('#/peers'))
  assert.equal(await page.evaluate(() => navigator.clipboard.readText()), 'mine')
})

test('rows rest while the mouse is over them, and move on when it leaves', limit, async t => {
  const NAMES = ['a', 'b', 'c', 'd', 'e', 'f']
  const d = await published(t, [n => state(NAMES.map((name, i) => connection(name, { bw: (i * 7 + n * 5) % 11 * 1000 + i })))], FAST)
  const page = await open(t, `${d.url}#/peers?sort=-in`)
  await snapshot(page)
  const order = () => page.$$eval('.tr', all => all.sort((a, b) => a.getAttribute('aria-rowindex') - b.getAttribute('aria-rowindex')).map(r => r.textContent.slice(0, 20)).join())
  const later = n => when(page, last => Number(document.querySelector('.handle').getAttribute('aria-valuemax')) >= last, n)
  const held = async () => Number(await page.getAttribute('.handle', 'aria-valuemax'))
  await page.hover('[aria-rowindex="3"]')
  await when(page, () => document.querySelector('.table.held'))
  const before = await order()
  const box = await page.locator('.table').boundingBox()
  await later(await held() + 6)
  assert.equal(await order(), before)
  await page.click('[aria-rowindex="3"]')
  await when(page, () => document.querySelector('.panel'))
  const [table, panel] = [await page.locator('.table').boundingBox(), await page.locator('.panel').boundingBox()]
  assert.ok(table.x === box.x && table.x + table.width <= panel.x, 'the table stands beside the panel')
  await page.press('.panel', 'Escape')
  await page.hover('[aria-rowindex="3"]')
  await page.mouse.move(5, 5)
  await when(page, was => [...document.querySelectorAll('.tr')].sort((a, b) => a.getAttribute('aria-rowindex') - b.getAttribute('aria-rowindex')).map(r => r.textContent.slice(0, 20)).join() !== was, before)
  await show(page, 'overview')
  await page.hover('.top li:nth-child(2)')
  const best = await names(page, '.top .name')
  await later(await held() + 6)
  assert.deepEqual(await names(page, '.top .name'), best)
})

test('agents: each has a colour, and the rest is one of them', limit, async t => {
  const AGENTS = ['a', 'b', 'c', 'd', 'e', 'f', 'g', 'h', 'i']
  const d = await published(t, [state(AGENTS.map(a => connection(a, { agentVersion: `${a}/1.0`, transport: a === 'i' ? 'carrier-pigeon' : 'ip4+tcp', remote: a === 'i' ? '/coop/3' : undefined })))])
  const page = await open(t, d.url)
  await snapshot(page)
  const legend = page.locator('.card:has(h2:text("Agents"))')
  assert.match(await legend.textContent(), /3 others3/)
  const parts = await legend.locator('.shares span').evaluateAll(all => all.map(el => [getComputedStyle(el).backgroundColor, parseFloat(el.style.width)]))
  assert.equal(new Set(parts.map(([c]) => c)).size, 7)
  assert.equal(Math.round(parts.reduce((n, [, w]) => n + w, 0)), 100)
  assert.ok(Math.abs(parts[0][1] - 100 / 9) < 0.1, 'of all of them')
  const pigeon = page.locator('.legend li:has-text("carrier-pigeon") .swatch')
  assert.equal(await pigeon.getAttribute('class'), 'swatch c-other')
})

test('a moment that is looked at stays, whatever the page has to let go of', limit, async t => {
  const big = 'x'.repeat(2_500_000)
  const d = await published(t, [n => state([connection('one', { agentVersion: `${n} ${big}` })])], ['--interval', '50'])
  const page = await open(t, `${d.url}#/connections`)
  await when(page, () => Number(document.querySelector('.handle')?.getAttribute('aria-valuemax')) > 2)
  await page.focus('.handle')
  await page.keyboard.press('Home')
  await hasText(page, '.title', 'Shown as it was')
  const shown = () => page.textContent('[role=row]:not(.thead) [role=gridcell]:nth-child(3)')
  const before = await shown()
  await when(page, n => document.querySelector('.more summary') && Number(document.querySelector('.vitals dd').textContent.slice(1)) > n, 30)
  assert.equal((await shown()).slice(0, 3), before.slice(0, 3))
  await hasText(page, '.title', 'Shown as it was')
})

// Where the time line is, and how to drag over a part of it, from 0 to 1.
async function timeLine (page) {
  const box = await page.locator('.plot').boundingBox()
  const drag = async (from, to) => {
    await page.mouse.move(box.x + box.width * from, box.y + 20)
    await page.mouse.down()
    await page.mouse.move(box.x + box.width * to, box.y + 20, { steps: 3 })
    await page.mouse.up()
  }
  return { box, drag }
}

test('a range is selected by dragging, and every view counts what is in it', limit, async t => {
  const d = await published(t, [full], FAST)
  const page = await open(t, d.url)
  await when(page, () => Number(document.querySelector('.handle')?.getAttribute('aria-valuemax')) > 12)
  const { box, drag } = await timeLine(page)
  await drag(0.9, 0.999)
  await hasText(page, '.switch [aria-pressed=true]', 'range')
  await hasText(page, '.buttons', 'Clear range of')
  assert.match(await page.textContent('.card:has(h2:text("What changed"))'), /[1-9]\d* opened, [1-9]\d* closed/)
  assert.match(page.url(), /from=\d+/)
  await page.click('nav a:has-text("Peers")')
  await hasText(page, '.tools .aside', 'in the')
  assert.ok((await rows(page)).some(r => r.gone && r.text.includes('brief')), 'who was there and went')
  await page.click('text=Clear range of')
  await when(page, () => !location.hash.includes('from='))
  await page.hover('.plot', { position: { x: box.width - 30, y: 20 } })
  await when(page, () => parseFloat(document.querySelector('.plot .timed').style.getPropertyValue('--x')) > 90 && document.querySelector('.reading.hovered'))
  assert.ok((await page.$$('.tick')).length > 3)
})

test('a range is compared with any other, by Alt and a drag, by a choice, and in the address', limit, async t => {
  let first
  const d = await published(t, [n => (first ??= now()) && state([connection('early', { cum: Math.min(n, 30) * 1e6 }), connection('late', { cum: Math.max(0, n - 30) * 1e6 })])], FAST)
  const page = await open(t, d.url)
  await when(page, () => Number(document.querySelector('.handle')?.getAttribute('aria-valuemax')) > 70)
  const { drag } = await timeLine(page)
  const card = page.locator('.card:has(h2:text("What changed"))')
  await drag(0.97, 0.999)
  await when(page, () => /from=\d+/.test(location.hash))
  await page.keyboard.down('Alt')
  await drag(0.9, 0.95)
  await page.keyboard.up('Alt')
  await when(page, () => /vs=\d+-\d+/.test(location.hash) && document.querySelector('.selected.second'))
  assert.match(page.url(), /from=\d+/)
  await card.locator('select').selectOption('an hour before'.replace(/^/, 'against '))
  await card.getByText('is not held').waitFor()
  await card.locator('select').selectOption('against another range: drag')
  await drag(0.95, 0.9)
  await when(page, () => /vs=\d+-\d+/.test(location.hash))
  const last = now()
  await page.goto(`${d.url}#/overview?t=${last - 200}&from=${last - 2000}&by=range&vs=${first + 300}-${first + 2300}`)
  await card.getByText('What fell').waitFor()
  assert.match(await card.textContent(), new RegExp(`, against .*What grew${short('late')}\\+.*What fell${short('early')}−`))
  assert.match(await card.textContent(), /MiB moved against \d.* MiB/)
  await screenshot(page, 'compared')
  await accessible(page, 'compared')
})

test('a range is selected, changed and compared by keys alone, and each end says where it is', limit, async t => {
  const d = await published(t, [full], FAST)
  const page = await open(t, d.url)
  await when(page, () => Number(document.querySelector('.handle')?.getAttribute('aria-valuemax')) > 20)
  const value = () => page.evaluate(() => Number(document.activeElement.getAttribute('aria-valuenow')))
  const press = async (...keys) => { for (const key of keys) await page.keyboard.press(key) }
  const at = n => when(page, n => Number(document.activeElement.getAttribute('aria-valuenow')) === n, n)
  // On the moment, with Shift: either way, and back over where it began.
  await page.focus('.handle')
  await press('ArrowLeft')
  await hasText(page, '.title', 'Shown as it was')
  const from = await value()
  await press('Shift+ArrowLeft', 'Shift+ArrowLeft', 'Shift+ArrowLeft')
  await when(page, () => document.querySelector('.end'))
  await at(from)
  const ends = () => page.$$eval('.handle', all => all.slice(0, 2).map(el => Number(el.getAttribute('aria-valuenow'))))
  await when(page, n => Number(document.querySelector('.end').getAttribute('aria-valuenow')) === n - 3, from)
  assert.match(await page.getAttribute('.handle', 'aria-valuetext'), /^\d\d:\d\d:\d\d, range of \d+ s$/)
  await press('Shift+ArrowRight', 'Shift+ArrowRight', 'Shift+ArrowRight', 'Shift+ArrowRight')
  await at(from + 1)
  assert.deepEqual(await ends(), [from + 1, from])
  // The ends are sliders of their own, behind the moment.
  await press('Tab')
  assert.equal(await page.getAttribute(':focus', 'aria-label'), 'Start of the range')
  assert.ok(await page.evaluate(() => document.activeElement.matches(':focus-visible') && getComputedStyle(document.activeElement).outlineStyle === 'solid'))
  await press('ArrowLeft', 'ArrowLeft', 'PageUp', 'PageDown')
  await at(from - 9)
  assert.deepEqual(await ends(), [from + 1, from - 9], 'no later than the moment')
  await hasText(page, '.buttons', 'Clear range of')
  for (const [name, key] of [['start of the range compared with', 'Home'], ['end of the range compared with', 'ArrowRight']]) {
    await press('Tab')
    assert.equal(await page.getAttribute(':focus', 'aria-label'), name)
    await press(key)
    await when(page, () => /vs=\d+-\d+/.test(location.hash))
  }
  assert.match(await page.getAttribute(':focus', 'aria-valuetext'), /range of/)
  await accessible(page, 'ends of ranges')
  // Without a range, a button makes one.
  await page.click('text=Clear range of')
  await when(page, () => !location.hash.includes('from='))
  await page.getByRole('button', { name: 'Range', exact: true }).press('Enter')
  await when(page, () => document.activeElement.getAttribute('aria-label') === 'Start of the range')
  assert.match(page.url(), /from=\d+/)
  // And a mouse moves its end.
  await press('PageUp')
  await when(page, () => Number(document.activeElement.getAttribute('aria-valuenow')) >= 10)
  const box = await page.locator('.end').first().boundingBox()
  const before = await value()
  await page.mouse.move(box.x + box.width / 2, box.y + 30)
  await page.mouse.down()
  await page.mouse.move(0, box.y + 30, { steps: 3 })
  await page.mouse.up()
  await when(page, n => Number(document.activeElement.getAttribute('aria-valuenow')) < n, before)
})

test('a range is as long on its button as in the views, whatever time each snapshot took to come', limit, async t => {
  const d = await published(t, [n => ({ state: { instantTs: now() - n % 3 * 40 } })], FAST)
  const page = await open(t, d.url)
  await when(page, () => Number(document.querySelector('.handle')?.getAttribute('aria-valuemax')) > 30)
  await page.focus('.handle')
  await page.keyboard.press('ArrowLeft')
  let seen = 0
  for (let i = 0; i < 24; i++) {
    await page.keyboard.press('Shift+ArrowLeft')
    await page.evaluate(() => new Promise(resolve => requestAnimationFrame(() => requestAnimationFrame(resolve))))
    const [button, card] = await page.evaluate(() => [document.querySelector('.buttons button').textContent, document.querySelector('.tools .aside').textContent])
    if (!/[1-9]/.test(button)) continue
    assert.ok(card.includes(`in the ${/\d+ s/.exec(button)[0]} before`), `${button}: ${card}`)
    seen++
  }
  assert.ok(seen > 0, 'the range became a second long')
})

test('every table tells what a range changed against the time before', limit, async t => {
  // early moves only before the 30th snapshot, late only after; steady all the time; brief ones come and go.
  // Taken at even times, however long each takes to come.
  const first = Date.now()
  const d = await published(t, [n => state([
    connection('early', { cum: Math.min(n, 30) * 1e6, streams: ['/early/1'] }), connection('late', { cum: Math.max(0, n - 30) * 2e6, agentVersion: 'js/1', streams: ['/late/1'] }),
    ...n < 28 ? [connection('gone', { cum: n * 1e6 })] : []
  ], { instantTs: first + n * 100 })], FAST)
  const page = await open(t, `${d.url}#/peers`)
  await when(page, () => Number(document.querySelector('.handle')?.getAttribute('aria-valuemax')) > 75)
  const change = async name => {
    const at = await page.$$eval('.thead button', all => all.findIndex(el => el.textContent === 'Change'))
    return (await page.locator(`.tr:has-text("${name}") > div`).nth(at).textContent()).trim()
  }
  await page.focus('.handle')
  for (let i = 0; i < 3; i++) await page.keyboard.press('PageDown')
  // From a moment after the 30th back: as much time of late as of early.
  await when(page, () => document.querySelector('.title').textContent.includes('Shown as it was'))
  const now = Number(await page.getAttribute('.handle', 'aria-valuenow'))
  for (let n = now; n > 34; n--) await page.keyboard.press('Shift+ArrowLeft')
  await hasText(page, '.tools .aside', ', against ')
  await page.getByRole('columnheader', { name: 'Change' }).waitFor()
  assert.match(await change(short('late')), /^(new )?\+\d.* MiB$/)
  assert.match(await change(short('early')), /^−\d.* MiB$/)
  assert.match(await change(short('gone')), /^−\d.* MiB$/, 'who was there before and is no more')
  await page.selectOption('[aria-label="group by"]', 'agent')
  await hasText(page, '.thead', 'Change')
  assert.match(await change('js'), /^(new )?\+/)
  assert.match(await change('kubo'), /^−/)
  await page.click('nav a:has-text("Connections")')
  for (const title of ['Moved in', 'Moved out', 'Change']) await hasText(page, '.thead', title)
  await hasText(page, '.tools .aside', ', against ')
  assert.match(await change(short('late')), /^(new )?\+\d.* MiB$/)
  assert.match(await change(short('early')), /^−\d.* MiB$/)
  await page.click('nav a:has-text("Streams")')
  await hasText(page, '.sheet thead', 'Change')
  assert.match(await page.textContent('.sheet tr:has-text("/late/1") td:last-child'), /^(new )?\+/)
  assert.match(await page.textContent('.sheet tr:has-text("/early/1") td:last-child'), /^−/)
  await accessible(page, 'protocols compared')
  await page.selectOption('[aria-label="compare with"]', '3600000')
  await when(page, () => !document.querySelector('.sheet thead').textContent.includes('Change'))
  await page.click('nav a:has-text("Connections")')
  await page.click('.switch button:text("now")')
  await when(page, () => !/Moved|Change/.test(document.querySelector('.thead').textContent))
})

test('DHT, topics and swarm tell what a range changed against the time before', limit, async t => {
  // At the 30th snapshot a peer leaves the mesh, the routing table and the node, and another comes.
  let first, changed
  const d = await published(t, [n => {
    first ??= now()
    if (n === 30) changed = now()
    const [goes, comes] = ['leaver', 'joiner'].map(idOf), other = n < 30 ? goes : comes
    return state([connection('stays', { cum: n * 1e6 }), connection(n < 30 ? 'leaver' : 'joiner', { cum: n * 1000, openTs: now() })], {
      dht: {
        enabled: true, params: { k: 20 }, outgoingQueries: { success: n < 30 ? 5 : 12 },
        buckets: [{ cpl: 3, peers: [{ peerId: idOf('stays') }, { peerId: other }] }, ...n < 30 ? [{ cpl: 9, peers: [{ peerId: goes }] }] : []]
      },
      topics: [
        { name: 'weather', subscribers: n < 30 ? 9 : 12, meshPeerIds: [idOf('stays'), other] }, { name: n < 30 ? 'old' : 'fresh', subscribers: 1, meshPeerIds: [idOf('stays')] }
      ]
    })
  }], FAST)
  const page = await open(t, `${d.url}#/topics`)
  await when(page, () => Number(document.querySelector('.handle')?.getAttribute('aria-valuemax')) > 75)
  assert.ok(!/[+−]|against/.test(await page.textContent('.view')), 'nothing is compared')
  await page.goto(`${d.url}#/topics?t=${now()}&from=${changed + 500}&by=range&vs=${first + 200}-${changed - 500}`)
  await hasText(page, '.tools .aside', ', against ')
  const topic = name => page.textContent(`.card:has(h2:text-is("${name}"))`)
  assert.match(await topic('weather'), new RegExp(`12 subscribers \\(\\+3\\)Mesh: 2 peers \\+1 −1\\+ ${short('joiner')}− ${short('leaver')}${short('stays')}$`))
  assert.match(await topic('fresh'), /1 subscriber \(\+1\)Mesh: 1 peer \+1 −0/)
  assert.match(await topic('old'), /0 subscribers \(−1\)Mesh: 0 peers \+0 −1/)
  await accessible(page, 'topics compared')
  await screenshot(page, 'topics-compared')
  await page.click('nav a:has-text("DHT")')
  await hasText(page, '.tools .aside', ', against ')
  assert.match(await page.textContent('.bucket:has-text("3")'), /^32 of 20 \+1 −1$/)
  assert.match(await page.textContent('.card:has(h2:text("Queries out"))'), /success\+712/)
  await hasText(page, '.thead', 'Change')
  const changes = (await rows(page)).map(r => `${r.text.slice(8, 13).replaceAll('z', '')}${/(came|went)?$/.exec(r.text)[0]}${r.gone ? ' gone' : ''}`)
  assert.equal(changes.filter(c => c.endsWith('came')).length, 1, changes.join())
  assert.equal(changes.filter(c => c.endsWith('went gone')).length, 2, 'of each bucket')
  assert.ok((await rows(page)).every(r => r.text.includes('active')))
  await hasText(page, '.tools .aside', '2 peers')
  await accessible(page, 'DHT compared')
  await screenshot(page, 'dht-compared')
  await page.click('nav a:has-text("Swarm")')
  await hasText(page, '.tools', '0 opened, 0 closed against 0 and 0')
  await page.hover(`.peer[aria-label^="${idOf('stays')}"]`)
  await when(page, () => /[1-9][\d.]* MiB.*[+−]/.test(document.querySelector('.about').textContent))
  await accessible(page, 'swarm compared')
  await screenshot(page, 'swarm-compared')
})

test('who opened a connection or stream is not said where nobody knows', limit, async t => {
  const userProvidedTags = ['role=unknown']
  const d = await published(t, [() => state([connection('mine'), connection('theirs', { role: 1 }), { ...connection('odd', { userProvidedTags }), streams: { streams: [{ id: Buffer.from('s'), protocol: '/x/1', userProvidedTags }] } }])], FAST)
  const page = await open(t, d.url)
  await snapshot(page)
  assert.match(await page.textContent('.card:has(h2:text("Connections"))'), /Opened byus1the peer1not known1/)
  assert.match(await page.textContent('.tile:has(h2:text("Connections"))'), /1 opened by us/)
  await page.click('.card:has(h2:text("Connections")) a:has-text("not known")')
  await hasText(page, '.tools .aside', '1 of 3')
  await hasText(page, '.tr', short('odd'))
  await show(page, 'streams')
  await hasText(page, '.tr', 'not known')
})

test('the mouse over one chart reads the same moment in all of them', limit, async t => {
  const d = await published(t, [full], FAST)
  const page = await open(t, `${d.url}#/overview`)
  await when(page, () => Number(document.querySelector('.handle')?.getAttribute('aria-valuemax')) > 12)
  await page.focus('.handle')
  await page.keyboard.press('ArrowLeft')
  await hasText(page, '.title', 'Shown as it was')
  const places = () => page.$$eval('.timed', all => all.map(el => {
    const [from, to] = el.dataset.span.split(' ').map(Number)
    return from + parseFloat(el.style.getPropertyValue('--x')) / 100 * (to - from)
  }))
  const chart = page.locator('.tile .timed').first()
  const { width, height } = await chart.boundingBox()
  await chart.hover({ position: { x: width / 2, y: height / 2 } })
  await when(page, () => document.querySelector('.reading.hovered'))
  const moments = await places()
  assert.equal(moments.length, 5, 'four tiles and the time line')
  assert.ok(Math.max(...moments) - Math.min(...moments) < 10, `${moments}`)
  const values = () => page.$$eval('.tile .timed', all => all.map(el => el.dataset.value).join())
  assert.equal(await values(), '0 B/s,0 B/s,5,2', 'each tile tells its own value there')
  const box = await chart.boundingBox(), marked = new Set()
  for (let x = 0; x < 30; x++) {
    await page.mouse.move(box.x + width / 2 + x, box.y + 10)
    marked.add(await chart.evaluate(el => el.style.getPropertyValue('--x')))
  }
  assert.ok(marked.size < 25, `marked are snapshots, whose numbers are read: ${marked.size} places in 30 px`)
  await page.mouse.move(5, 5)
  await when(page, () => !document.querySelector('.reading.hovered'))
  assert.ok((await places()).every((at, i) => at < moments[i]), 'none is marked any more')
  assert.equal(await values(), ',,,')
  await page.click(`.card:has(h2:text("Top peers")) a:has-text("${short('fast')}")`)
  await page.hover('.history .timed')
  await when(page, () => document.querySelector('.reading.hovered'))
  assert.ok((await page.textContent('.reading')).includes('−'), 'what opened and closed then')
})

test('keys: views, search, time, and the sheet that tells them', limit, async t => {
  const d = await published(t, [full], FAST)
  const page = await open(t, d.url)
  await when(page, () => Number(document.querySelector('.handle')?.getAttribute('aria-valuemax')) > 3)
  await page.keyboard.press('?')
  await hasText(page, 'dialog[open]', 'follow the newest')
  await accessible(page, 'keys')
  await page.keyboard.press('Escape')
  await page.keyboard.press('g')
  await page.keyboard.press('p')
  await when(page, () => location.hash.startsWith('#/peers'))
  await page.keyboard.press('[')
  await hasText(page, '.title', 'Shown as it was')
  await page.keyboard.press('l')
  await when(page, () => document.querySelector('.live.on'))
  await page.keyboard.press('/')
  await when(page, () => document.activeElement.type === 'search')
})

test('at 200 and 400 % nothing is missing, and nothing is wider than the screen', limit, async t => {
  const d = await published(t, [full], FAST)
  for (const [zoom, width, height] of [[200, 720, 450], [400, 360, 225]].slice(isFirefox ? 1 : 0)) {
    const page = await open(t, d.url, { width, height })
    await snapshot(page)
    for (const view of VIEWS) {
      await show(page, view)
      await noOverflow(page, `${view} at ${zoom} %`)
      await accessible(page, `${view} at ${zoom} %`)
      const room = await page.evaluate(() => document.querySelector('.table, .sky')?.getBoundingClientRect().height ?? 200)
      assert.ok(room > 150, `${room} px for ${view} at ${zoom} %`)
    }
    const states = {
      'a peer': [`peers?peer=${idOf('fast')}`, '.panel'], 'a connection': [`connections?connection=${Buffer.from('fast').toString('hex')}`, '.panel'],
      groups: ['peers?group=net24', '[role=row]'], evidence: ['overview?health=Churn', '.evidence'], protocol: ['streams?protocol=/ipfs/kad/1.0.0', '[role=row]'],
      'a range': [`overview?from=${now() - 1000}&by=range&vs=3600000`, '.selected.second']
    }
    for (const [state, [hash, there]] of Object.entries(isFirefox ? {} : states)) {
      await page.evaluate(to => { location.hash = `#/${to}` }, hash)
      await page.locator(there).first().waitFor({ state: 'attached' })
      await noOverflow(page, `${state} at ${zoom} %`)
      await accessible(page, `${state} at ${zoom} %`)
    }
    await show(page, 'overview')
    await page.keyboard.press('?')
    await page.waitForSelector('dialog[open]')
    await accessible(page, `keys at ${zoom} %`)
    await page.keyboard.press('Escape')
    assert.equal(await page.getAttribute('.more', 'open'), null, 'folded where there is little room')
    await page.click('.more summary')
    for (const text of ['Export recording', 'Open recording', 'Connect']) assert.ok(await page.isVisible(`text=${text} >> nth=0`), text)
    const small = await page.$$eval('button, summary, select, input:not(.unseen):not([type=checkbox]), nav a', all => all
      .filter(el => el.checkVisibility() && !el.closest('p') && !el.matches('.id, .link, .cell'))
      .map(el => [el.textContent.slice(0, 20), el.getBoundingClientRect().height]).filter(([, h]) => h < 24))
    assert.deepEqual(small, [], 'controls of at least 24 px')
    await screenshot(page, `zoom-${zoom}`)
  }
})

test('what is said when there is nothing to show is readable at 100, 200 and 400 %', limit, async t => {
  const d = await daemon(t, ['--feed', join(folder(t), 'feed')], { expect: [/^feed_(connected|disconnected)$/] })
  const file = join(folder(t), 'token')
  writeFileSync(file, 'correct-horse.battery_staple~1\n', { mode: 0o600 })
  const locked = await daemon(t, ['--token-file', file])
  const bad = join(folder(t), 'bad.mock')
  writeFileSync(bad, 'no recording')
  const page = await open(t, d.url)
  const fine = async where => {
    for (const [zoom, width, height] of [[400, 360, 225], [200, 720, 450], [100, 1280, 800]]) {
      await page.setViewportSize({ width, height })
      await noOverflow(page, `${where} at ${zoom} %`)
      await accessible(page, `${where} at ${zoom} %`)
    }
  }
  await hasText(page, 'h1', 'Waiting for the first snapshot')
  await fine('welcome')
  const connect = async address => {
    await page.fill('[name=address]', address)
    await page.press('[name=address]', 'Enter')
  }
  await connect('foo bar')
  await hasText(page, '.wrong', 'foo bar')
  await fine('a wrong address')
  await connect('example.test:9')
  await hasText(page, 'main .code', '--listen')
  await fine('no daemon')
  await connect('ws://127.0.0.1:9')
  await hasText(page, 'main .code', 'introspectd')
  await fine('no daemon here')
  await page.goto(`${locked.url}#/overview`)
  await hasText(page, 'main', 'token')
  await fine('a token is wanted')
  await page.fill('main [name=token]', 'short')
  await page.press('main [name=token]', 'Enter')
  await hasText(page, 'main .wrong', '16 to 256')
  await fine('a wrong token')
  await page.evaluate(() => { location.hash = '#/fleet' })
  await page.fill('[name=daemons]', '127.0.0.1:9 ftp://no.example')
  await page.click('button:text-is("Add")')
  await hasText(page, '.wrong', 'ftp:// is not a scheme')
  await hasText(page, '.card', '127.0.0.1:9')
  await fine('a fleet that does not answer')
  await page.evaluate(() => { location.hash = '#/fleet?daemons=ws%3A%2F%2F127.0.0.1%3A19&at=ws%3A%2F%2Fexample.test%3A9' })
  await hasText(page, '.ask', 'example.test')
  await fine('a link to another daemon')
  await page.setInputFiles('.recording input', bad)
  await hasText(page, '.problem', 'This is not a recording')
  await page.evaluate(() => { location.hash = '#/overview' })
  await hasText(page, 'h1', 'Nothing to show')
  await fine('a recording that cannot be read')
})

test('what is stale is as readable as what is not', limit, async t => {
  const d = await published(t, [full], FAST)
  const page = await open(t, d.url)
  await snapshot(page)
  await d.stop()
  await when(page, () => document.body.classList.contains('stale'))
  await page.evaluate(() => { const { now } = Date; Date.now = () => now() + 60_000 })
  await hasText(page, '.pill.bad', 'silent for 1 min')
  await accessible(page, 'stale')
  await page.setViewportSize({ width: 360, height: 225 })
  await accessible(page, 'stale at 400 %')
  await page.setViewportSize({ width: 1280, height: 800 })
  await screenshot(page, 'stale')
})

test('no text turns the direction of others, or is endless', limit, async t => {
  const d = await published(t, [state([connection('one', { agentVersion: 'picture\u202egnp.exe', remote: `/dns4/${'x'.repeat(5000)}.example/tcp/1` })],
    { topics: [{ name: 'y'.repeat(5000), subscribers: 1 }] })])
  const page = await open(t, d.url)
  await snapshot(page)
  for (const view of VIEWS) {
    await show(page, view)
    const html = await page.content()
    assert.ok(!html.includes('\u202e'), view)
    assert.ok(!/[xy]{2500}/.test(html), view)
    await noOverflow(page, view)
  }
})

test('another daemon starts without the filters of the last, and a search at the top of the table', limit, async t => {
  const many = n => state(Array.from({ length: 300 }, (_, i) => connection(`p${i}`, { cum: i })))
  const a = await published(t, [many], FAST)
  const b = await published(t, [full], [...FAST, '--allow-origin', a.url.slice(0, -1)])
  const page = await open(t, `${a.url}#/connections`)
  await snapshot(page)
  await hasText(page, '.tools .aside', '300 connections')
  await page.evaluate(() => { document.querySelector('.table').scrollTop = 5000 })
  await page.fill('.search', 'kubo')
  await when(page, () => document.querySelector('.table').scrollTop === 0)
  await page.fill('.search', 'no such thing')
  await hasText(page, '.tools .aside', '0 of 300')
  await page.fill('[name=address]', b.host)
  await page.press('[name=address]', 'Enter')
  await hasText(page, '.state.open', b.host)
  await when(page, () => /^\d+ connections/.test(document.querySelector('.tools .aside')?.textContent))
  assert.equal(await page.inputValue('.search'), '')
})

test('a daemon elsewhere that does not answer: the command to copy lets in nobody without a token', limit, async t => {
  const d = await published(t, [full], FAST)
  const page = await open(t, d.url)
  await snapshot(page)
  await page.fill('[name=address]', 'example.test:9')
  await page.press('[name=address]', 'Enter')
  await hasText(page, 'main .code', '--listen')
  const command = await page.textContent('main .code')
  for (const option of ['--token-file', '--tls-cert', '--tls-key']) assert.ok(command.includes(option), command)
})

test('a part of the past is kept over a reload, by daemon', limit, async t => {
  const d = await published(t, [full], FAST)
  const page = await open(t, d.url)
  await when(page, () => Number(document.querySelector('.handle')?.getAttribute('aria-valuemax')) > 3)
  await page.reload()
  await when(page, () => Number(document.querySelector('.handle')?.getAttribute('aria-valuemax')) > 3)
  await page.focus('.handle')
  await page.keyboard.press('Home')
  await hasText(page, '.title', 'Shown as it was')
  assert.ok(await page.evaluate(() => Number(/t=(\d+)/.exec(location.hash)[1]) < performance.timeOrigin), 'from before the reload')
  const oldest = () => page.evaluate(() => new Promise(resolve => {
    const request = indexedDB.open('introspectd')
    request.onsuccess = () => { request.result.transaction('snapshots').objectStore('snapshots').getAll().onsuccess = e => resolve(e.target.result.map(r => [r.url, r.at])) }
  }))
  const records = await oldest()
  assert.ok(records.every(([url]) => url === d.ws), 'by its address')
  const gone = await published(t, [full], ['--interval', '100'])
  const other = await open(t, gone.url)
  await snapshot(other)
  assert.ok(Number(await other.getAttribute('.handle', 'aria-valuemax')) < 10)
})

test('what the daemon remembers of the time when nobody looked is there to go back to', limit, async t => {
  const d = await published(t, [full], ['--interval', '50', '--remember', '1h', '--remember-every', '0.1'])
  let seen = 0
  for (const end = now() + 60_000; seen < 5 && now() < end; await new Promise(resolve => setTimeout(resolve, 200)))
    seen = (await (await fetch(`${d.url}past`)).arrayBuffer()).byteLength / 500
  const page = await open(t, d.url)
  await when(page, () => Number(document.querySelector('.handle')?.getAttribute('aria-valuemax')) > 4)
  await page.focus('.handle')
  await page.keyboard.press('Home')
  await hasText(page, '.title', 'remembered by the daemon')
  assert.ok(await page.evaluate(() => Number(/t=(\d+)/.exec(location.hash)[1]) < performance.timeOrigin), 'from before the page')
  await page.keyboard.press('End')
  await when(page, () => document.querySelector('.live.on') && document.querySelector('.health'))
  await hasText(page, '.tile', 'opened by us')
})
