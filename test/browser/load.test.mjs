// 10,000 connections, one snapshot a second.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { fullState } from '../dashboard/page.mjs'
import { ServerMessage } from '../integration/daemon.mjs'
import { open, published, screenshot, show, when, withBrowser } from './browser.mjs'

withBrowser()

const CONNECTIONS = 10_000
const TASK_MAX = 1000   // ms; one interval, so that even a slow machine keeps up

const watchTasks = () => {
  window.tasks = []
  new PerformanceObserver(list => window.tasks.push(...list.getEntries().map(e => Math.round(e.duration)))).observe({ type: 'longtask' })
}

test('the page keeps up and answers', { timeout: 120000 }, async t => {
  const states = [1, 2, 3].map(n => {
    const message = fullState(0, CONNECTIONS)
    for (const [i, c] of message.state.subsystems.connections.entries()) c.traffic.trafficIn.instBw = (i * 7919 * n) % 100_003
    delete message.state.runtime
    delete message.state.sequence
    return new Uint8Array(ServerMessage.encodeDelimited(ServerMessage.fromObject(message)).finish())
  })
  const d = await published(t, states)
  const page = await open(t, d.url, { init: watchTasks })
  // n more snapshots.
  const seconds = async n => {
    const from = page.wire.findLast(Number.isInteger) ?? 0
    await when(page, last => Number(document.querySelector('.vitals dd')?.textContent.slice(1)) >= last, from + n)
  }
  await seconds(2)
  for (const view of ['overview', 'connections', 'streams', 'swarm']) {
    await show(page, view)
    await seconds(1)
    await page.evaluate(() => { window.tasks.length = 0 })
    await seconds(4)
    const longest = await page.evaluate(() => Math.max(0, ...window.tasks))
    t.diagnostic(`${view}: longest task ${longest} ms with ${CONNECTIONS} connections`)
    assert.ok(longest < TASK_MAX, `${view}: ${longest} ms`)
    await screenshot(page, `load-${view}`)
  }
  await show(page, 'connections')
  await when(page, () => document.querySelector('.table .tr'))
  const frames = await page.evaluate(async () => {
    const table = document.querySelector('.table')
    const still = [], times = []
    let most = 0
    while (still.length < 40) {
      const from = performance.now()
      await new Promise(requestAnimationFrame)
      still.push(performance.now() - from)
    }
    for (let i = 0, top = 0; i < 120; i++) {
      const from = performance.now()
      table.scrollTop = top += 300
      await new Promise(requestAnimationFrame)
      times.push(performance.now() - from)
      most = Math.max(most, table.querySelectorAll('.tr').length)
    }
    for (const list of [still, times]) list.sort((a, b) => a - b)
    return { still: still[20], median: times[60], worst: times.at(-1), most, rows: Number(table.querySelector('[role=grid]').getAttribute('aria-rowcount')) }
  })
  t.diagnostic(`scrolling: median frame ${frames.median.toFixed(1)} ms, worst ${frames.worst.toFixed(1)} ms, still ${frames.still.toFixed(1)} ms`)
  assert.equal(frames.rows, CONNECTIONS * 4 / 5 + 200 + 1, 'the open ones, and some of those that closed')
  assert.ok(frames.most < 60, `${frames.most} rows in the DOM`)
  assert.ok(frames.median < 6 * Math.max(frames.still, 16), `median frame ${frames.median} ms, without scrolling ${frames.still} ms`)
  const skipped = Number(/Skipped(\d+)/.exec(await page.textContent('.vitals'))[1])
  t.diagnostic(`skipped snapshots: ${skipped}`)
})
