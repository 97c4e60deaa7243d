// With nothing to do it does nothing, as the kernel sees it.
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { client, daemon, folder } from './daemon.mjs'
import { open, PING, text } from './raw.mjs'

// The daemon with a log of its system calls, a line each, written by the end of
// the call. The process is the daemon, not strace.
async function traced (t, options) {
  const log = join(folder(t), 'calls')
  const d = await daemon(t, options, {
    prefix: ['strace', '--daemonize', '--follow-forks', '--quiet=all', '--output', log],
    env: { ASAN_OPTIONS: 'detect_leaks=0' }   // which is not possible under ptrace
  })
  d.calls = () => readFileSync(log, 'utf8')
  // Resolves when no call has come for a while in which it slept: neither it nor strace wanted to run.
  const sleeps = () => / \(sleeping\)$/m.test(readFileSync(`/proc/${d.pid}/status`, 'utf8'))
  d.quiet = async () => {
    for (let before, still = 0; still < 3; await delay(200)) {
      still = before === (before = d.calls()) && sleeps() ? still + 1 : 0
    }
  }
  return d
}

async function silent (d, ms) {
  const before = d.calls()
  await delay(ms)
  assert.equal(d.calls().slice(before.length), '')
}

// How many turns of the loop it takes meanwhile.
async function counted (d, meanwhile) {
  const before = d.calls().length
  await meanwhile()
  d.meanwhile = d.calls().slice(before)
  return d.meanwhile.match(/ poll[(]/g)?.length ?? 0
}

test('without a client: no system call', async t => {
  const d = await traced(t, ['--interval', '10'])
  await d.quiet()
  await silent(d, 3000)
  const before = d.calls()
  await fetch(`${d.url}healthz`)
  assert.ok(d.calls().length > before.length)
})

test('with ten silent clients: none until the ping is due', async t => {
  const d = await traced(t, ['--interval', '10', '--ping', '4'])
  const clients = await Promise.all(Array.from({ length: 10 }, () => open(t, { port: d.port })))
  await Promise.all(clients.map(c => c.frame(0)))
  await d.quiet()
  const turns = await counted(d, () =>
    Promise.all(clients.map(async c => assert.equal((await c.frame(1)).opcode, PING))))
  assert.ok(turns <= 2 * clients.length, `${turns} turns`)
})

test('with a client that waits for what is not there yet: one turn for an interval', async t => {
  const d = await traced(t, ['--interval', '1500'])
  const c = await client(t, d.ws)
  await c.received(1)
  const turns = await counted(d, () => c.next())
  assert.ok(turns <= 4, `${turns} turns: ${d.meanwhile}`)
})

test('with a large table: who gets ready does not cost a look at all the others', async t => {
  const d = await traced(t, ['--feed', join(folder(t), 'nobody'), '--max-clients', '800'])
  const clients = []
  while (clients.length < 800) {
    clients.push(...await Promise.all(Array.from({ length: 50 }, () => open(t, { port: d.port }))))
  }
  await d.quiet()
  // How many it looks at altogether while these get ready, one after the other.
  const looks = async clients => {
    const before = d.calls()
    for (const c of clients) {
      c.send(text('ready'))
      await delay(1)
    }
    const read = () => d.calls().slice(before.length).match(/ recvfrom[(]/g)?.length ?? 0
    while (read() < clients.length) await delay(50)
    await d.quiet()
    const calls = d.calls().slice(before.length)
    assert.equal(read(), clients.length)
    return [...calls.matchAll(/ poll[(].*, (\d+), -?\d+( <|[)])/g)].reduce((sum, [, n]) => sum + Number(n), 0)
  }
  await looks(clients.slice(0, 50))
  const n = await looks(clients.slice(50, 250))
  assert.ok(n > 0 && n < 200 * 100, `${n} looks for 200 readies`)   // few, if many came in one turn
  await silent(d, 1000)
})
