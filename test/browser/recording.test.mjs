// Recordings: exported, opened, damaged, dropped, scrubbed; without a daemon.
import assert from 'node:assert/strict'
import { readFileSync, writeFileSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { daemon, folder, ServerMessage } from '../integration/daemon.mjs'
import { load } from '../dashboard/page.mjs'
import { accessible, hasText, needsSample, open, sample, screenshot, show, snapshot, traffic, VIEWS, watched, when, withBrowser } from './browser.mjs'

const { readRecording } = await load('recording.js')
withBrowser()
const limit = { timeout: 240000 }

async function exported (page) {
  const [download] = await Promise.all([page.waitForEvent('download'), page.click('text=Export recording')])
  assert.match(download.suggestedFilename(), /^introspection-\d{14}\.mock$/)
  return readFile(await download.path())
}

const openFile = (page, path) => page.setInputFiles('input[type=file]', path)

test('what is exported and opened again is equal', limit, async t => {
  await traffic(t, 8)
  const d = await watched(t, '--interval', '50')
  const page = await open(t, d.url)
  await when(page, () => Number(document.querySelector('.handle')?.getAttribute('aria-valuemax')) > 10)
  const first = await exported(page)
  const { messages, problems } = readRecording(new Uint8Array(first))
  assert.deepEqual(problems, [])
  const decoded = messages.map(m => ServerMessage.decode(m))
  assert.deepEqual(decoded.slice(0, 2).map(m => m.payload), ['runtime', 'response'])
  assert.ok(page.differences > 5, 'snapshots come as differences')
  assert.ok(decoded.filter(m => m.state).every(m => Number(m.state.base) === 0 && !m.state.goneIds.length && m.state.subsystems.connections.length >= 16), 'and are kept whole')
  const came = page.wire.filter(Number.isInteger)
  assert.deepEqual(decoded.slice(2).map(m => Number(m.state.sequence)), came.slice(0, decoded.length - 2), 'every snapshot that came, in order')
  const path = join(folder(t), 'ours.mock')
  writeFileSync(path, first)
  await openFile(page, path)
  await hasText(page, '.state.file', 'Recording ours.mock')
  assert.equal(Buffer.compare(await exported(page), first), 0)
  await page.click('text=Back to live')
  await hasText(page, '.state.open', 'Connected')
})

test('the sample: every view, scrubbed without a daemon', { ...limit, ...needsSample }, async t => {
  const d = await daemon(t)
  const page = await open(t, d.url)
  await snapshot(page)
  await d.stop()
  await openFile(page, sample)
  await when(page, () => document.querySelector('.handle')?.getAttribute('aria-valuemax') === '29')
  const says = {
    overview: 'go-libp2p',
    peers: 'peers',
    connections: 'connection',
    streams: '/floodsub/1.0.0',
    dht: 'Routing table',
    topics: 'No topics',
    events: 'vents',
    swarm: 'the wider',
    fleet: 'Add other daemons'
  }
  assert.deepEqual(Object.keys(says), VIEWS)
  for (const view of VIEWS) {
    await show(page, view)
    await hasText(page, 'main', says[view])
  }
  await show(page, 'events')
  await page.focus('.handle')
  await page.keyboard.press('End')
  await hasText(page, '.tools .aside', '937 events')
  await page.click('.tr >> nth=3')
  await hasText(page, '.below pre', '"direction"')
  await accessible(page, 'an event')
  await screenshot(page, 'sample-event')
  await page.keyboard.press('Tab')
  await page.focus('.handle')
  await page.keyboard.press('Home')
  await when(page, () => document.querySelector('.handle').getAttribute('aria-valuenow') === '0')
  assert.match(await page.getAttribute('.handle', 'aria-valuetext'), /15 Jun 2020|\d\d:\d\d:\d\d/)
  const box = await page.locator('.plot').boundingBox()
  await page.mouse.move(box.x + box.width / 2, box.y + box.height / 2)
  await page.mouse.down()
  await page.mouse.move(box.x + box.width * 0.75, box.y + box.height / 2)
  await page.mouse.up()
  const now = () => Number(document.querySelector('.handle').getAttribute('aria-valuenow'))
  await when(page, `(${now})() > 12 && (${now})() < 27`)
  const at = await page.evaluate(now)
  await page.click('text=Play')
  await when(page, n => Number(document.querySelector('.handle').getAttribute('aria-valuenow')) > n, at)
})

test('damaged files are shown as far as they are whole, with what is wrong and where', { ...limit, ...needsSample }, async t => {
  const d = await daemon(t)
  const page = await open(t, d.url)
  await snapshot(page)
  const whole = readFileSync(sample)
  const path = join(folder(t), 'damaged.mock')
  const flipped = Buffer.from(whole)
  flipped[20] ^= 1
  writeFileSync(path, flipped.subarray(0, whole.length - 100))
  await openFile(page, path)
  await hasText(page, '.problem', 'Wrong checksum at offset 4')
  await hasText(page, '.problem', 'Cut off at offset')
  await snapshot(page)
  await page.click('text=Dismiss')
  await when(page, () => !document.querySelector('.problem'))
  writeFileSync(path, 'no recording at all')
  await openFile(page, path)
  await hasText(page, '.problem', 'not a recording')
  await hasText(page, 'main', 'Nothing to show')
})

test('a file that is dropped is opened', { ...limit, ...needsSample }, async t => {
  const d = await daemon(t)
  const page = await open(t, d.url)
  await snapshot(page)
  const bytes = await page.evaluateHandle(data => {
    const transfer = new DataTransfer()
    transfer.items.add(new File([Uint8Array.from(atob(data), c => c.charCodeAt(0))], 'dropped.mock'))
    return transfer
  }, readFileSync(sample).toString('base64'))
  await page.dispatchEvent('main', 'drop', { dataTransfer: bytes })
  await hasText(page, '.state.file', 'Recording dropped.mock')
  await when(page, () => document.querySelector('.handle')?.getAttribute('aria-valuemax') === '29')
})
