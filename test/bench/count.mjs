// Instructions, counted by callgrind: what is left of a long run when that of a short
// one is taken away, for each time that a thing was done. Compared with BASELINE,
// or with --write put there.
import { execFileSync, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fullState } from '../dashboard/page.mjs'
import { build, client, daemon, folder, root, ServerMessage } from '../integration/daemon.mjs'

const BASELINE = join(root, 'test/bench/BASELINE')
const TOLERANCE = 2    // percent
const INTERVAL = 10    // ms; the shortest
const CALLGRIND = ['valgrind', '--tool=callgrind', '--callgrind-out-file=/dev/null']

const collected = text => Number(/Collected : (\d+)/.exec(text)[1])

// For one call of what count.c does.
function calls (name, times = 1000) {
  const run = n => {
    const { status, stderr } = spawnSync(CALLGRIND[0], [...CALLGRIND.slice(1), join(build, 'test/bench/count'), name, `${n}`], { encoding: 'utf8' })
    if (status !== 0) throw new Error(stderr)
    return collected(stderr)
  }
  return (run(times + 100) - run(100)) / times
}

// Of the whole daemon, while a client gets ready and is sent a snapshot that a node
// publishes when asked, n times. Nobody is ready before the interval has passed, so
// that every time is like every other.
async function pulls (n) {
  const cleanups = []
  const t = { after: f => cleanups.unshift(f) }
  const path = join(folder(t), 'feed')
  const d = await daemon(t, ['--feed', path, '--interval', `${INTERVAL}`], { prefix: CALLGRIND, expect: [/^==/, /^feed_/] })
  const message = fullState(0, 20)
  delete message.state.runtime
  delete message.state.sequence
  const bytes = ServerMessage.encodeDelimited(ServerMessage.fromObject(message)).finish()
  const node = connect(path)
  node.on('data', () => node.write(bytes))
  await d.line(/^feed_connected/)
  const c = await client(t, d.ws)
  await c.received(1)
  for (let i = 0; i < n; i++) {
    await sleep(3 * INTERVAL)
    await c.next()
  }
  c.socket.close()
  await c.closed
  await d.stop()
  const counted = collected(d.lines.join('\n'))
  node.destroy()
  for (const f of cleanups) await f()
  return counted
}

const first = (...command) => execFileSync(command[0], command.slice(1), { encoding: 'utf8' }).split('\n')[0]

const now = {
  compiler: first(...(process.env.CC ?? 'cc').split(' '), '--version').replace(/^\S+ /, ''),
  flags: process.env.CFLAGS ?? '',
  machine: process.arch,
  handshake: calls('handshake'),
  frame: calls('frame'),
  take: calls('take', 100),
  difference: calls('difference', 100),
  totals: calls('totals', 100),
  past: calls('past', 100),
  pull: (await pulls(220) - await pulls(20)) / 200
}
const FIGURES = ['handshake', 'frame', 'take', 'difference', 'totals', 'past', 'pull']

if (process.argv.includes('--write')) {
  writeFileSync(BASELINE, `# Instructions of a handshake (ws_request, ws_accept), of decoding one frame; of taking a
# snapshot of 1,000 connections, with the difference to the one before (20 changed), with its
# totals, and with totals and what --remember keeps of it; and of one turn of the pull
# protocol, from ready to sent, through the whole daemon with a feed.
# Counted by callgrind; compared by make bench-check, written by make bench-baseline.
# They depend on the compiler and its flags, so with others nothing is compared.
tolerance ${TOLERANCE} %
${Object.entries(now).map(([name, value]) => `${name} ${FIGURES.includes(name) ? Math.round(value) : value}`).join('\n')}
`)
}
const then = Object.fromEntries(readFileSync(BASELINE, 'utf8').split('\n').filter(line => /^\w/.test(line))
  .map(line => /^(\w+) (.*)/.exec(line).slice(1)))
const others = ['compiler', 'flags', 'machine'].filter(name => then[name] !== now[name])
for (const name of others) console.log(`${name} differs: BASELINE is of "${then[name]}", this is "${now[name]}"`)
for (const name of FIGURES) {
  const percent = (now[name] / Number(then[name]) - 1) * 100
  const moved = Math.abs(percent) > parseFloat(then.tolerance)
  console.log(`${name.padEnd(10)} ${then[name].padStart(8)} -> ${now[name].toFixed(0).padStart(8)}  ` +
    `${percent < 0 ? '' : '+'}${percent.toFixed(1)} %${moved ? `, more than ${then.tolerance}` : ''}`)
  if (moved && others.length === 0) process.exitCode = 1
}
if (others.length > 0) console.log('so the figures cannot be compared')
else if (process.exitCode) console.log('if that is meant to be: make bench-baseline')
