// What was measured is drawn where it was in time, and what was not is not drawn.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { load } from './page.mjs'

globalThis.location = new URL('http://localhost/')
const { isGap, line, overTime } = await load('charts.js')

const at = (...times) => times.map(t => ({ at: t * 1000, rare: false, runtime: { interval_ms: 1000 } }))

test('an outage is a gap, also one of 16 s; a slow pace is none', () => {
  const gaps = snapshots => snapshots.map((s, i) => isGap(snapshots, i)).map((gap, i) => gap ? i : -1).filter(i => i >= 0)
  assert.deepEqual(gaps(at(1, 2, 3, 19, 20, 21)), [3])
  assert.deepEqual(gaps(at(1, 2, 3, 7, 8)), [], 'a moment of being busy')
  assert.deepEqual(gaps(at(0, 30, 60, 90)), [], 'a tab that nobody looked at')
  assert.deepEqual(gaps(at(1, 2, 3, 33, 63, 93)), [], 'from then on')
  const looked = at(1, 2, 3, 33, 34, 35)
  looked[3].rare = true
  assert.deepEqual(gaps(looked), [], 'nobody looked for half a minute')
})

test('points stand at their time, and a point alone is seen', () => {
  const snapshots = at(0, 10, 90, 100)
  assert.deepEqual(overTime(snapshots, 0, 3, 100).filter(Boolean).map(p => p.x), [0, 10, 90, 100])
  assert.equal(line([[0, 1], undefined, [5, 2], undefined, [7, 3], [8, 4]]), 'M0.0 1.0h0M5.0 2.0h0M7.0 3.0L8.0 4.0')
})
