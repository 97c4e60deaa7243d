// A good client beside an attack: how long it takes while its daemon is attacked, and while
// another daemon of the same machine, the decoy, is attacked in the same way. So the machine
// is as busy in both cases, and what differs is what the attack does to the daemon.
import assert from 'node:assert/strict'

const at = (times, part) => times.sort((a, b) => a - b)[Math.floor((times.length - 1) * part)]
const median = list => at([...list], 0.5)

const FACTOR = 2
const SLACK = 10   // ms, that a busy machine may take for itself
const TRIES = 3    // since that may happen to one of the two alone

// target, decoy: daemons; good(): resolves when the good client, which is the target's, was
// served once; attack(daemon): begins and returns what ends it, which may be waited for.
// rounds: of each, in turn, ms long.
export async function beside (t, { target, decoy, good, attack, rounds, ms }) {
  async function round (daemon) {
    const end = await attack(daemon), times = []
    try {
      for (const until = performance.now() + ms; performance.now() < until;) {
        const start = performance.now()
        await good()
        times.push(performance.now() - start)
      }
    } finally {
      await end()
    }
    return times
  }
  let results
  for (let n = 1; n <= TRIES; n++) {
    const attacked = [], spared = []
    for (let i = 0; i < rounds; i++) {
      spared.push(at(await round(decoy), 0.99))
      attacked.push(at(await round(target), 0.99))
    }
    results = [median(attacked), median(spared)]
    t.diagnostic(`${t.name}: p99 ${results[0].toFixed(1)} ms, with the decoy attacked ${results[1].toFixed(1)} ms`)
    if (results[0] <= FACTOR * results[1] + SLACK) return
  }
  assert.fail(`${results[0].toFixed(1)} ms instead of ${results[1].toFixed(1)}`)
}
