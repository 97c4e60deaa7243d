// The way of the bridge between a node and the daemon: who is asked when, and who goes and comes.
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { closeSync, openSync, readFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import test from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { client, daemon, folder, ServerMessage, undisturbed, until } from '../integration/daemon.mjs'
import { feedDaemon } from '../integration/feed-node.mjs'
import { bridge, fakeNode, KUBO } from './fake.mjs'

const PEERS = '/api/v0/swarm/peers?verbose=true&identify=true'
const asked = (n, count, ms = 30000) => until(n.server, 'asked', () => n.times(PEERS) >= count, ms)

// The daemon's end of the feed, by hand: messages that came, and a way to ask for one.
async function feed (t) {
  const f = { path: join(folder(t), 'feed'), messages: [], connections: 0 }
  f.server = createServer(socket => {
    let held = Buffer.alloc(0)
    f.socket = socket
    f.connections++
    f.server.emit('change')
    socket.on('error', () => {})
    socket.on('data', data => {
      held = Buffer.concat([held, data])
      for (;;) {
        const last = held.findIndex(byte => byte < 128)   // of the length
        if (last < 0) return
        const at = last + 1
        const len = held.subarray(0, at).reduceRight((sum, byte) => sum * 128 + (byte & 127), 0)
        if (held.length < at + len) return
        f.messages.push(ServerMessage.decode(held.subarray(at, at + len)))
        held = held.subarray(at + len)
        f.server.emit('change')
      }
    })
  }).listen(f.path)
  t.after(() => { f.socket?.destroy(); f.server.close() })
  await once(f.server, 'listening')
  f.states = () => f.messages.filter(m => m.payload === 'state')
  f.has = (value, ms = 30000) => until(f.server, 'change', value, ms)
  return f
}

// A node, a feed, and the bridge that has connected to the feed.
async function bridged (t, answers) {
  const n = await fakeNode(t, answers)
  const f = await feed(t)
  const b = bridge(t, ['kubo', n.url, '--to', f.path])
  await f.has(() => f.connections === 1)
  return { n, f, b }
}

test('a node that nobody watches is asked nothing; each r is a round', async t => {
  const { n, f, b } = await bridged(t)
  await sleep(500)
  assert.deepEqual(n.asked, [])
  f.socket.write('r')
  await f.has(() => f.states().length === 1)
  assert.equal(f.messages[0].payload, 'runtime')
  assert.equal(f.messages[0].runtime.peerId, '12D3KooWSelf')
  f.socket.write('r')
  await f.has(() => f.states().length === 2)
  assert.equal(f.messages.length, 3)   // the Runtime is the same: it is not sent again
  await sleep(500)
  assert.equal(n.times(PEERS), 2)
  // Dear questions were asked once, and how old their answers are is told.
  for (const dear of ['id', 'version', 'stats/dht', 'swarm/resources', 'swarm/addrs/local', 'swarm/addrs/autonat', 'config?arg=Swarm.ConnMgr']) assert.equal(n.times(`/api/v0/${dear}`), 1, dear)
  for (const cheap of ['stats/bw', 'pubsub/ls']) assert.equal(n.times(`/api/v0/${cheap}`), 2, cheap)
  const ages = f.states()[1].state.resources.filter(r => r.scope === 'age-seconds')
  assert.deepEqual(ages.map(r => [r.name, Number(r.limit)]), [['addresses', 60], ['dht', 30], ['limits', 10]])
  const inBucket = f.states().map(m => m.state.subsystems.dht.buckets[1].peers[0].ageInBucket)
  assert.ok(inBucket[0] === 0 && inBucket[1] > 0 && inBucket[1] < 60000, `${inBucket}`)
  const [first, second] = f.states().map(m => m.state.subsystems.connections.map(c => [c.id.toString(), Number(c.timeline.openTs)]))
  assert.deepEqual(second, first)      // seen since the first round
  assert.deepEqual(b.lines, [`feed_connected path=${f.path}`])
})

test('what a node refuses is not asked for each time', async t => {
  const { n, f } = await bridged(t, { ...KUBO, '/api/v0/pubsub/ls': undefined })
  for (let i = 1; i <= 3; i++) {
    f.socket.write('r')
    await f.has(() => f.states().length === i)
  }
  assert.equal(n.times('/api/v0/pubsub/ls'), 1)
})

test('a node goes and comes: one line each, and who it is is asked again', async t => {
  const { n, f, b } = await bridged(t)
  f.socket.write('r')
  await f.has(() => f.states().length === 1)
  n.close()
  f.socket.write('r')
  await b.line(/^node_away /)
  await sleep(2500)
  assert.equal(b.lines.filter(l => /node_/.test(l)).length, 1)
  assert.match(b.lines[1], /^node_away reason="http:\/\/127.0.0.1:\d+\/api\/v0\/swarm\/peers\?verbose=true&identify=true: .*onnect/)
  const again = await fakeNode(t, { ...KUBO, '/api/v0/id': { ID: '12D3KooWOther' } }, { port: n.port })
  await f.has(() => f.states().length === 2)
  assert.deepEqual(b.lines.filter(l => /node_/.test(l)).slice(1), [`node_back url=${n.url}`])
  assert.equal(f.messages.filter(m => m.payload === 'runtime')[1].runtime.peerId, '12D3KooWOther')
  assert.equal(again.times(PEERS), 1)
  assert.equal(f.connections, 1)
})

test('what is wrong besides the connections costs only that, and one line', async t => {
  const { n, f, b } = await bridged(t, { ...KUBO, '/api/v0/stats/dht': '{"Name"' })
  for (let i = 1; i <= 5; i++) {
    f.socket.write('r')
    await f.has(() => f.states().length === i)
  }
  assert.equal(b.lines.length, 2)
  assert.match(b.lines[1], /^node_incomplete reason="\S+stats\/dht: the answer is not JSON/)
  assert.equal(n.times('/api/v0/stats/dht'), 1)   // dear, also when it failed
  assert.equal(f.states()[4].state.subsystems.connections.length, 2)
  assert.equal(f.states()[4].state.subsystems.dht, null)
})

test('the daemon goes and comes, and meanwhile the node is asked nothing', async t => {
  const { n, f, b } = await bridged(t)
  f.socket.write('r')
  await f.has(() => f.states().length === 1)
  f.server.close()
  f.socket.destroy()
  await b.line(/^feed_away /)
  await sleep(2000)
  assert.equal(n.times(PEERS), 1)
  f.server.listen(f.path)
  await until(b.child, 'line', () => b.lines.length >= 4, 30000)
  assert.deepEqual(b.lines.map(l => l.split(' ')[0]), ['feed_connected', 'feed_disconnected', 'feed_away', 'feed_connected'])
  f.socket.write('r')
  await f.has(() => f.states().length === 2)
  assert.equal(f.messages.filter(m => m.payload === 'runtime').length, 2)
})

test('a daemon that goes while the node is away is noticed', async t => {
  const { n, f, b } = await bridged(t)
  n.close()
  f.socket.write('r')
  await b.line(/^node_away /)
  f.socket.destroy()
  await b.line(/^feed_disconnected/)
  await f.has(() => f.connections === 2)
})

test('the real daemon pulls: no client, no question', async t => {
  const n = await fakeNode(t)
  const d = await feedDaemon(t, ['--interval', '50'])
  const b = bridge(t, ['kubo', n.url, '--to', d.feed])
  await d.line(/^feed_connected/)
  await sleep(500)
  assert.equal(n.asked.length, 0)
  const c = await client(t, d.ws)
  let state
  do ({ state } = await c.next()); while (!state.subsystems?.connections?.length)
  assert.equal(state.runtime.implementation, 'kubo')
  assert.equal(state.subsystems.connections[0].agentVersion, 'kubo/0.42.0')
  c.socket.terminate()
  await undisturbed(async () => {   // a question of before may still come
    const before = n.times(PEERS)
    await sleep(1000)
    return n.times(PEERS) === before || undefined
  })
  await b.stop()
})

test('a node that answers slowly does not stall the daemon', async t => {
  const n = await fakeNode(t)
  const d = await feedDaemon(t, ['--interval', '50'])
  bridge(t, ['kubo', n.url, '--to', d.feed])
  const c = await client(t, d.ws)
  while (!(await c.next()).state.subsystems?.connections?.length);
  n.answers[PEERS] = () => {}
  const before = n.times(PEERS)
  c.ready()
  await asked(n, before + 1)
  for (let i = 0; i < 5; i++) assert.equal((await fetch(`${d.url}healthz`)).status, 200)
})

test('in a pipe: at the interval, and it ends with its reader', async t => {
  const n = await fakeNode(t)
  const b = bridge(t, ['kubo', n.url, '--interval', '200'])
  const d = await daemon(t, ['--feed', '-', '--interval', '50'], { stdin: b.child.stdout, expect: [/^feed_(dis)?connected/] })
  const c = await client(t, d.ws)
  while (!(await c.next()).state.subsystems?.connections?.length);
  await asked(n, 3)
  await d.stop()
  b.child.stdout.destroy()
  const [code, signal] = await b.exit
  assert.deepEqual([code, signal], [0, null], b.lines.join('\n'))
})

test('an output that is full: one line, exit status 1', async t => {
  const n = await fakeNode(t)
  for (const options of [[], ['--once']]) {
    const full = openSync('/dev/full', 'w')
    const b = bridge(t, ['kubo', n.url, ...options], { stdout: full })
    assert.deepEqual(await b.exit, [1, null])
    assert.equal(b.lines.at(-1), 'introspect-bridge: standard output: No space left on device')
    closeSync(full)
  }
})

test('the command line: what is wrong is named', async t => {
  for (const [args, wanted] of [
    [[], /which kind/], [['nope'], /nope: no such kind/], [['kubo', 'x'], /x: expected a URL/],
    [['kubo', '--once', '--to', '/x'], /--once and --to/],
    [['kubo', 'http://a:b@c'], /expected a URL/], [['kubo', 'http://a', 'c'], /c: too many/],
    [['kubo', '--interval', '99'], /--interval 99: /], [['kubo', '--interval', '1x'], /1x/], [['kubo', '--interval'], /--interval: needs a value/],
    [['kubo', '--nope'], /--nope: no such option/], [['kubo', '--once=1'], /takes no value/],
    [['kubo', '--token-file', '/nonexistent'], /nonexistent: No such file/], [['kubo', '--to', 'x'.repeat(200)], /too long/]
  ]) {
    const b = bridge(t, args)
    const [code] = await b.exit
    assert.equal(code, 2, args.join(' '))
    assert.equal(b.lines.length, 1)
    assert.match(b.lines[0], wanted)
    assert.match(b.lines[0], /^introspect-bridge: .*: see --help$/)
  }
})

test('the program is as its manual says', () => {
  const page = readFileSync(new URL('../../dist/introspect-bridge.1', import.meta.url), 'utf8')
  for (const option of ['to', 'once', 'interval', 'token-file', 'user', 'no-sandbox']) assert.ok(page.includes(`.It Fl \\-${option}`), option)
})
