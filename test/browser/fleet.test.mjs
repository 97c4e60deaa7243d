// Several daemons in one page, by their totals.
import assert from 'node:assert/strict'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { daemon, folder } from '../integration/daemon.mjs'
import { accessible, hasText, noOverflow, open, published, screenshot, snapshot, traffic, watched, when, withBrowser } from './browser.mjs'

withBrowser()
const limit = { timeout: 240000 }
const TOKEN = 'correct-horse.battery_staple~1'

const gauge = n => ({ instBw: n, cumBytes: 10 * n })
// A node of that name with as many connections, each with a stream.
const node = (implementation, connections, rate) => [{ runtime: { implementation, version: '0.42.0' } }, n => ({ state: {
  instantTs: Date.now(),
  traffic: { trafficIn: gauge(rate + n), trafficOut: gauge(rate) },
  addresses: [{ multiaddr: '/ip4/147.75.9.9/udp/4001/quic-v1', reachability: 'PUBLIC' }],
  resources: [{ scope: 'system', name: 'conns', used: connections, limit: 10 }],
  subsystems: { connections: Array.from({ length: connections }, (_, i) => ({ id: Buffer.from(`${i}`), peerId: `peer${i}`, streams: { streams: [{ id: Buffer.from('s') }] } })) }
} })]

const row = (page, text) => page.locator('.tr', { hasText: text })
const add = async (page, text) => {
  await page.fill('[name=daemons]', text)
  await page.click('button:text-is("Add")')
}

test('a list of daemons by totals: here, away, refused, behind a token; kept, linked, and each a click away', limit, async t => {
  const a = await published(t, node('alpha', 3, 1000))
  const options = ['--interval', '200', '--allow-origin', a.url.slice(0, -1)]
  const b = await published(t, node('beta', 9, 5e6), options)
  const tokenFile = join(folder(t), 'token')
  writeFileSync(tokenFile, `${TOKEN}\n`, { mode: 0o600 })
  await traffic(t, 2)
  const c = await watched(t, ...options.slice(2), '--token-file', tokenFile)
  const d = await daemon(t, [], { expect: [/origin/i] })
  const page = await open(t, `${a.url}#/fleet`)
  const whole = {}, totals = {}
  page.hear = (url, state) => {
    const { host } = new URL(url), seen = state.counts ? totals : whole
    seen[host] = (seen[host] ?? 0) + 1
    if (state.counts) assert.equal(state.subsystems?.connections.length ?? 0, 0)
  }
  await hasText(page, '.tools .aside', '1 of 1 daemon connected')
  await hasText(page, '.why', `introspectd --allow-origin ${a.url.slice(0, -1)}`)
  await add(page, `${b.host}, http://${c.host}/ \n ${d.host} ftp://no.example foo:::`)
  await hasText(page, '.wrong', 'ftp:// is not a scheme')
  await row(page, 'beta').getByText('connected').waitFor()
  await row(page, 'beta').getByText('9 of 10').waitFor()
  const cells = await row(page, 'beta').locator('[role=gridcell]').allTextContents()
  for (const text of [b.host, '4.77 MiB/s', '9', 'reachable over QUIC', '9 of 10; conns is nearly full']) assert.ok(cells.some(cell => cell.trim() === text), `${text} is not in ${cells.join(' | ')}`)
  await hasText(page, '.tools .aside', '2 of 4 daemons connected')
  await hasText(page, '.tools .aside', '12 connections')
  await when(page, () => !document.querySelector('.tools .aside').textContent.includes('in 0'))
  for (let last = totals[b.host]; totals[b.host] < last + 2;) await page.waitForTimeout(100)
  assert.equal(whole[b.host], 1, 'after the first snapshot totals alone')

  // Why, and what helps.
  await hasText(page, '.card', `introspectd --listen ${d.host} --allow-origin ${a.url.slice(0, -1)}`)
  assert.ok(!(await page.locator('.card', { hasText: d.host }).textContent()).includes('token'))
  await accessible(page, 'fleet')
  await screenshot(page, 'fleet')
  await hasText(page, '.why', `${c.host} wants a token`)
  await row(page, c.host).getByText('needs a token').waitFor()
  await page.locator('.card', { hasText: c.host }).locator('[name=token]').fill(TOKEN)
  await page.keyboard.press('Enter')
  await row(page, c.host).getByText('connected').waitFor()
  await d.stop()
  const again = await daemon(t, ['--listen', d.host, ...options.slice(2)])
  await row(page, d.host).getByText('connected').waitFor()
  await hasText(page, '.tools .aside', '4 of 4 daemons connected')

  // What is gone is said to be gone, counts no more, and its last figures stay.
  await b.stop()
  await row(page, 'beta').getByText('away').waitFor()
  await hasText(page, '.tools .aside', '3 of 4 daemons connected')
  assert.match(await row(page, 'beta').textContent(), /reachable over QUIC.*ago|just now/)
  assert.match(await row(page, 'beta').getAttribute('class'), /gone/)
  const order = await page.$$eval('.tr', all => all.sort((x, y) => x.getAttribute('aria-rowindex') - y.getAttribute('aria-rowindex')).map(el => el.textContent))
  assert.ok(order.at(-1).includes('beta') && !order[0].includes('beta'), `by name, those that are gone last: ${order}`)
  await page.locator('.card', { hasText: b.host }).locator('text=Take off the list').click()
  await hasText(page, '.tools .aside', '3 of 3 daemons connected')

  // Kept by the browser, and in the address: another browser asks first.
  await page.reload()
  await hasText(page, '.tools .aside', '3 of 3 daemons connected')
  const link = page.url()
  assert.ok(decodeURIComponent(link).includes(d.host))
  const other = await open(t, link)
  await hasText(other, '.ask', 'names 2 daemons that you did not add')
  assert.deepEqual([...new Set(other.sockets)], [a.ws], 'nothing goes to a linked daemon before a click')
  await other.click('text=Add to the list')
  await row(other, d.host).getByText('connected').waitFor()

  // A click leads to the daemon; the others are left alone meanwhile.
  await row(page, d.host).click()
  await hasText(page, '.state.open', d.host)
  await snapshot(page)
  assert.match(page.url(), /#\/overview\?at=/)
  for (let last = -1, n; (n = totals[a.host]) !== last; last = n) await page.waitForTimeout(1500)
  await page.goBack()
  await hasText(page, '.tools .aside', '3 of 3 daemons connected')
  await again.stop()
  await row(page, d.host).getByText('away').waitFor()
  for (const width of [1024, 360]) {
    await page.setViewportSize({ width, height: 740 })
    await noOverflow(page, `fleet at ${width}`)
  }
  await screenshot(page, 'fleet-narrow')
})

test('a daemon that links lead to is not listed twice, and at most a hundred are watched', limit, async t => {
  const a = await daemon(t)
  const page = await open(t, `${a.url}#/fleet`)
  await hasText(page, '.tools .aside', '1 of 1 daemon')
  await add(page, `${a.host} ws://${a.host}/`)
  await hasText(page, '.tools .aside', '1 of 1 daemon')
  await page.evaluate(() => localStorage.setItem('fleet', ''))
  await add(page, Array.from({ length: 120 }, (_, i) => `127.0.0.1:${i + 1}`).join(' '))
  await hasText(page, '.wrong', 'the first 100 are watched')
  await hasText(page, '.tools .aside', 'of 100 daemons connected')
})
