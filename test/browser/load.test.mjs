// 10,000 connections, one snapshot a second.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { fullState } from '../dashboard/page.mjs'
import { ServerMessage } from '../integration/daemon.mjs'
import { cpu, longestTask, open, published, screenshot, show, when, withBrowser } from './browser.mjs'

withBrowser()

const CONNECTIONS = 10_000
// CPU ms of the main thread.
const TASK_MAX = 200
const FRAME_MAX = 60

test('the page keeps up and answers', async t => {
  const states = [1, 2, 3].map(n => {
    const message = fullState(0, CONNECTIONS)
    for (const [i, c] of message.state.subsystems.connections.entries()) c.traffic.trafficIn.instBw = (i * 7919 * n) % 100_003
    delete message.state.runtime
    delete message.state.sequence
    return new Uint8Array(ServerMessage.encodeDelimited(ServerMessage.fromObject(message)).finish())
  })
  const d = await published(t, states)
  const page = await open(t, d.url)
  const spent = await cpu(page)
  // n more snapshots.
  const seconds = async n => {
    const from = page.wire.findLast(Number.isInteger) ?? 0
    await when(page, last => Number(document.querySelector('.vitals dd')?.textContent.slice(1)) >= last, from + n)
  }
  await seconds(2)
  for (const view of ['overview', 'connections', 'streams', 'swarm']) {
    await show(page, view)
    await seconds(1)
    const longest = await longestTask(page, () => seconds(4))
    t.diagnostic(`${view}: longest task ${longest.toFixed(1)} ms of CPU with ${CONNECTIONS} connections`)
    assert.ok(longest > 0 && longest < TASK_MAX, `${view}: ${longest} ms`)
    await screenshot(page, `load-${view}`)
  }
  await show(page, 'connections')
  await when(page, () => document.querySelector('.table .tr'))
  const before = await spent()
  const frames = await page.evaluate(async () => {
    const table = document.querySelector('.table')
    let most = 0, n = 0
    for (; n < 120; n++) {
      table.scrollTop += 300
      await new Promise(requestAnimationFrame)
      most = Math.max(most, table.querySelectorAll('.tr').length)
    }
    return { n, most, scrolled: table.scrollTop, rows: Number(table.querySelector('[role=grid]').getAttribute('aria-rowcount')) }
  })
  const frame = ((await spent()).all - before.all) / frames.n
  t.diagnostic(`scrolling: ${frame.toFixed(1)} ms of CPU a frame, snapshots that came meanwhile among it`)
  assert.equal(frames.scrolled, frames.n * 300)
  assert.equal(frames.rows, CONNECTIONS * 4 / 5 + 200 + 1, 'the open ones, and some of those that closed')
  assert.ok(frames.most < 60, `${frames.most} rows in the DOM`)
  assert.ok(frame < FRAME_MAX, `a frame takes ${frame} ms`)
  const skipped = Number(/Skipped(\d+)/.exec(await page.textContent('.vitals'))[1])
  t.diagnostic(`skipped snapshots: ${skipped}`)
})
