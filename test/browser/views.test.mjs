// Every view with every kind of source: content, accessibility, screenshots.
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { test } from 'node:test'
import { daemon, folder, root } from '../integration/daemon.mjs'
import { accessible, hasText, needsSample, noOverflow, open, sample, screenshot, show, snapshot, traffic, VIEWS, watched, when, withBrowser } from './browser.mjs'

withBrowser()
const limit = { timeout: 240000 }
const SIZES = [['narrow', 360, 740], ['wide', 1920, 1080]]

// Each view at 1280 light and dark, checked by axe; then at the other widths.
async function lookAtAll (t, url, name, expected) {
  for (const scheme of ['light', 'dark']) {
    const page = await open(t, url, { scheme })
    await snapshot(page)
    for (const view of VIEWS) {
      await show(page, view)
      await hasText(page, 'main', expected[view])
      await screenshot(page, `${name}-${view}-${scheme}`)
      await accessible(page, `${name} ${view} ${scheme}`)
    }
  }
  for (const [width, ...size] of SIZES) {
    const page = await open(t, url, { width: size[0], height: size[1], scheme: width === 'wide' ? 'dark' : 'light' })
    await snapshot(page)
    for (const view of VIEWS) {
      await show(page, view)
      await hasText(page, 'main', expected[view])
      await noOverflow(page, `${name} ${view} ${width}`)
      await screenshot(page, `${name}-${view}-${width}`)
    }
  }
}

test('the kernel source', limit, async t => {
  await traffic(t, 12)
  const d = await watched(t)
  await lookAtAll(t, d.url, 'kernel', {
    overview: 'Traffic in',
    peers: 'peers',
    connections: 'connections',
    streams: 'introspectd --feed',
    dht: 'introspectd --feed',
    topics: 'introspectd --feed',
    events: 'events',
    swarm: 'tcp',
    fleet: '1 of 1 daemon connected'
  })
  const page = await open(t, `${d.url}#/connections`)
  await hasText(page, '[role=gridcell]', `(pid ${process.pid})`)
  await page.click('.thead button:text("Total out")')
  await hasText(page, '[aria-sort=descending]', 'Total out')
  await hasText(page, '[aria-rowindex="2"]', '11.7 KiB')   // 12,000 bytes, the most of the twelve
})

test('a real js-libp2p node', limit, async t => {
  const feed = join(folder(t), 'feed.sock')
  const d = await daemon(t, ['--feed', feed, '--interval', '200'], { expect: [/^feed_(connected|disconnected)$/] })
  const child = spawn(process.execPath, [join(root, 'publishers/js-libp2p/example/example.mjs'), '--feed', feed], { stdio: ['ignore', 'pipe', 'inherit'] })
  const gone = once(child, 'exit')
  t.after(async () => { child.kill('SIGKILL'); await gone })
  const ids = []
  for await (const line of createInterface({ input: child.stdout })) {
    ids.push(/^(?:publishing|connected) (\S+)/.exec(line)[1])
    if (ids.length === 3) break
  }
  const page = await open(t, d.url)
  await snapshot(page)
  const expected = {
    overview: 'js-libp2p', peers: ids[1].slice(-8), connections: ids[1].slice(-8), streams: '/echo/1.0.0', dht: 'Routing table', topics: 'weather', events: 'vent', swarm: ids[1].slice(-8), fleet: '1 of 1 daemon connected'
  }
  for (const view of VIEWS) {
    await show(page, view)
    await hasText(page, 'main', expected[view])
    await screenshot(page, `libp2p-${view}`)
    await accessible(page, `libp2p ${view}`)
  }
  await show(page, 'overview')
  await page.click(`.title .id`)
  await hasText(page, '.toast', 'Copied')
  assert.equal(await page.evaluate(() => navigator.clipboard.readText()), ids[0], 'a click copies the whole peer ID')
})

test('the sample recording, played by the daemon', { ...limit, ...needsSample }, async t => {
  const d = await daemon(t, ['--replay', sample, '--loop', '--interval', '100'])
  await lookAtAll(t, d.url, 'sample', {
    overview: 'go-libp2p',
    peers: 'peers',
    connections: 'connections',
    streams: '/ipfs/ping/1.0.0',
    dht: 'Routing table',
    topics: 'takes part in no pubsub topic',
    events: 'DHTQuery',
    swarm: 'the wider the line',
    fleet: '1 of 1 daemon connected'
  })
})

test('the keyboard reaches a connection, its panel, and the past', limit, async t => {
  await traffic(t, 5)
  const d = await watched(t, '--interval', '50')
  const page = await open(t, `${d.url}#/connections`)
  await snapshot(page)
  const focused = () => page.evaluate(() => document.activeElement.getAttribute('role') ?? document.activeElement.tagName)
  for (let i = 0; i < 60 && await focused() !== 'row'; i++) await page.keyboard.press('Tab')
  assert.equal(await focused(), 'row')
  await page.keyboard.press('ArrowDown')
  await page.keyboard.press('ArrowDown')
  await when(page, () => document.activeElement.getAttribute('aria-rowindex') === '4')
  await page.keyboard.press('Enter')
  await hasText(page, '.panel', 'Round trip')
  await screenshot(page, 'kernel-connection')
  await accessible(page, 'panel of a connection')
  await page.keyboard.press('Escape')
  await when(page, () => !document.querySelector('.panel'))
  for (let i = 0; i < 20 && await focused() !== 'slider'; i++) await page.keyboard.press('Tab')
  await when(page, () => Number(document.activeElement.getAttribute('aria-valuemax')) > 8)
  await page.keyboard.press('Home')
  await page.keyboard.press('ArrowRight')
  await when(page, () => document.querySelector('.handle').getAttribute('aria-valuenow') === '1')
  await hasText(page, '.title', 'Shown as it was')
  const max = Number(await page.getAttribute('.handle', 'aria-valuemax'))
  await when(page, n => Number(document.querySelector('.handle').getAttribute('aria-valuemax')) > n, max)
  assert.equal(await page.getAttribute('.handle', 'aria-valuenow'), '1', 'the past stays while new snapshots come')
  await page.keyboard.press('End')
  await when(page, () => document.querySelector('.live').getAttribute('aria-pressed') === 'true')
})

test('search, filter and sort', limit, async t => {
  const sockets = await traffic(t, 6)
  const d = await watched(t)
  const page = await open(t, `${d.url}#/connections`)
  await snapshot(page)
  const port = sockets[2].localPort
  await page.fill('.search', `tcp/${port}`)
  await hasText(page, '.tools .aside', '2 of')   // both ends are ours
  assert.ok(page.url().includes(`q=tcp%2F${port}`))
  await page.selectOption('[aria-label="opened by"]', 'us')
  await hasText(page, '.tools .aside', '1 of')
  await page.click('text=Clear')
  await hasText(page, '.tools .aside', ' connections')
})

test('a closed connection fades and does not vanish', limit, async t => {
  const sockets = await traffic(t, 3)
  const d = await watched(t, '--interval', '50')
  const page = await open(t, `${d.url}#/connections`)
  await snapshot(page)
  const local = `/ip4/127.0.0.1/tcp/${sockets[0].localPort}`
  await hasText(page, '[role=row]', local)
  sockets[0].resetAndDestroy()
  await when(page, text => [...document.querySelectorAll('.tr.gone')].some(el => el.textContent.includes(text)), local)
  const held = Number(await page.getAttribute('.handle', 'aria-valuemax'))
  await when(page, n => Number(document.querySelector('.handle').getAttribute('aria-valuemax')) > n + 5, held)
  await hasText(page, '.tr.gone', local)
})

test('the picture of the swarm stays still while data flows', limit, async t => {
  await traffic(t, 20)
  const d = await watched(t, '--interval', '50')
  const page = await open(t, `${d.url}#/swarm`)
  const places = () => page.$$eval('.peer', peers => peers.map(p => [p.getAttribute('href'), p.querySelector('.mark').getAttribute('cx'), p.querySelector('.mark').getAttribute('cy')]).sort())
  await when(page, () => document.querySelector('.peer'))
  const before = await places()
  const held = Number(await page.getAttribute('.handle', 'aria-valuemax'))
  await when(page, n => Number(document.querySelector('.handle').getAttribute('aria-valuemax')) > n + 5, held)
  assert.deepEqual(await places(), before)
})
