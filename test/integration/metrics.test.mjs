// GET /metrics: checked against what a client saw, and by promtool.
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { connect as connectSocket, createServer } from 'node:net'
import { join } from 'node:path'
import test, { describe } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { client, daemon, folder, undisturbed, until } from './daemon.mjs'
import { encodeState, feedDaemon, node } from './feed-node.mjs'
import { connect, handshake, request } from './raw.mjs'
import { bigState, recording, save, traffic } from './recording.mjs'

const HOUR = ['--interval', '3600000']
const SHORT = ['--interval', '10']
const STATUSES = ['active', 'closed', 'opening', 'closing', 'error']
const ROLES = ['initiator', 'responder']
const PEER_STATUSES = ['active', 'missing', 'rejected', 'candidate']
const TOKEN = 'correct-horse.battery_staple~1'

// The samples of a text, by name and labels as they stand.
function parse (text) {
  const samples = new Map()
  for (const line of text.split('\n')) {
    if (line === '' || line.startsWith('#')) continue
    const [, series, value] = line.match(/^(\S+?(?:\{.*\})?) (\S+)$/)
    assert.ok(!samples.has(series), `twice: ${series}`)
    samples.set(series, Number(value))
  }
  return samples
}

async function promtool (text) {
  const child = spawn('promtool', ['check', 'metrics'])
  let said = ''
  for (const stream of [child.stdout, child.stderr]) stream.on('data', data => { said += data })
  child.stdin.end(text)
  const [status] = await once(child, 'close')
  assert.deepEqual([said, status], ['', 0])
}

async function scrape (d, headers = {}) {
  const answer = await fetch(`${d.url}metrics`, { headers })
  assert.equal(answer.status, 200)
  assert.equal(answer.headers.get('content-type'), 'text/plain; version=0.0.4; charset=utf-8')
  const text = await answer.text()
  await promtool(text)
  return Object.assign(parse(text), { text })
}

function startingWith (samples, name) {
  return Object.fromEntries([...samples].filter(([series]) => series.startsWith(`${name}{`) || series === name))
}

// What /metrics is to say of a decoded state; what is 0 may be missing.
function expected (state) {
  const sums = {}
  const add = (series, n) => { sums[series] = (sums[series] ?? 0) + Number(n) }
  for (const c of state.subsystems?.connections ?? []) {
    add(`libp2p_connections{status="${STATUSES[c.status]}",role="${ROLES[c.role]}",transport="${c.transportId.toString()}"}`, 1)
    for (const s of c.streams?.streams ?? []) add(`libp2p_streams{protocol="${s.protocol}"}`, s.status === 1 || s.status === 4 ? 0 : 1)
  }
  for (const { peers } of state.subsystems?.dht?.buckets ?? []) {
    for (const { status } of peers) add(`libp2p_dht_peers{status="${PEER_STATUSES[status]}"}`, 1)
  }
  for (const direction of ['in', 'out']) {
    const side = direction === 'in' ? 'trafficIn' : 'trafficOut'
    add(`libp2p_traffic_bytes_total{direction="${direction}"}`, state.traffic?.[side]?.cumBytes ?? 0)
    add(`libp2p_traffic_packets_total{direction="${direction}"}`, state.traffic?.[side]?.cumPackets ?? 0)
    for (const p of state.protocols ?? []) {
      add(`libp2p_protocol_bytes_total{protocol="${p.protocol}",direction="${direction}"}`, p.traffic[side].cumBytes)
    }
  }
  for (const r of state.resources ?? []) {
    add(`libp2p_resource_used{scope="${r.scope}",name="${r.name}"}`, r.used)
    if (Number(r.limit) > 0) add(`libp2p_resource_limit{scope="${r.scope}",name="${r.name}"}`, r.limit)
  }
  return sums
}

function assertTotals (samples, { state }) {
  const want = expected(state)
  for (const [series, value] of Object.entries(want)) assert.equal(samples.get(series) ?? 0, value, series)
  for (const name of ['libp2p_connections', 'libp2p_streams', 'libp2p_resource_used', 'libp2p_protocol_bytes_total']) {
    for (const [series, value] of Object.entries(startingWith(samples, name))) assert.equal(value, want[series] ?? 0, series)
  }
  assert.ok(Object.keys(want).length > 4)
}

const play = (t, ...states) => save(t, recording(...states.map(state => ({ state }))))

describe('metrics', { concurrency: 3 }, () => {
  test('of the kernel', async t => {
    const server = createServer().listen(0, '127.0.0.1')
    await once(server, 'listening')
    const near = connectSocket(server.address().port, '127.0.0.1')
    const [far] = await once(server, 'connection')
    t.after(() => { near.destroy(); far.destroy(); server.close() })
    const d = await daemon(t, HOUR)
    const c = await client(t, d.ws)
    const snapshot = await c.received(1)
    const samples = await scrape(d)
    assertTotals(samples, snapshot)
    assert.ok(samples.get('libp2p_connections{status="active",role="responder",transport="ip4+tcp"}') > 0)
    assert.equal(samples.get('introspectd_snapshots_taken_total'), 1)
    assert.equal(samples.get('introspectd_snapshot_bytes'), c.raw[0].length)
    assert.ok(Math.abs(samples.get('introspectd_snapshot_timestamp_seconds') - Date.now() / 1000) < 60)
    assert.ok(Math.abs(samples.get('process_start_time_seconds') - Date.now() / 1000) < 60)
    assert.ok(samples.get('process_cpu_seconds_total') < 10)
    assert.match(samples.text, /^libp2p_node_info\{source="kernel",implementation="Linux TCP(?:, QUIC by eBPF)?",/m)
    assert.equal(samples.get('introspectd_feed_connected'), undefined)
  })

  test('of a recording', async t => {
    const d = await daemon(t, ['--replay', play(t, bigState()), ...HOUR], { expect: [/^replay_done/] })
    const c = await client(t, d.ws)
    const snapshot = await c.received(1)
    const samples = await scrape(d)
    assertTotals(samples, snapshot)
    assert.equal(samples.get('libp2p_dht_queries_total{direction="in",result="timeout"}'), 3)
    assert.equal(samples.get('libp2p_dht_queries_total{direction="out",result="success"}'), 2)
    assert.equal(samples.get('introspectd_snapshot_build_seconds_count'), 1)
  })

  test('of a node, whatever it calls things', async t => {
    const d = await feedDaemon(t, HOUR)
    const names = ['a"b', 'a\\b', 'a\nb', '\u0000\u001b[31m', 'ä€😀', 'x'.repeat(1000), '{}=",', 'other', '']
    const bytes = [...names.map(name => Buffer.from(name)), Buffer.from([0xff, 0xfe, 0x80]), Buffer.from([0xed, 0xa0, 0x80])]
    const state = {
      subsystems: {
        connections: bytes.map(transportId => ({ transportId, streams: { streams: names.map(protocol => ({ protocol })) } }))
      },
      protocols: names.map(protocol => ({ protocol, traffic: traffic(1) })),
      resources: names.map(name => ({ scope: name, name, used: 1, limit: 2 }))
    }
    await node(t, d, () => encodeState(0, state))
    await (await client(t, d.ws)).received(1)   // a scrape does not wait long for the node
    const samples = await scrape(d)
    const labels = [['"a\\"b"', 11], ['"a\\\\b"', 11], ['"a\\nb"', 11], ['"??[31m"', 11], ['"ä€😀"', 11],
      ['"{}=\\","', 11], ['"other"', 22], ['"unknown"', 11]]
    for (const [label, n] of labels) assert.equal(samples.get(`libp2p_streams{protocol=${label}}`), n, label)
    assert.equal(Object.keys(startingWith(samples, 'libp2p_streams')).length, labels.length)
    assert.equal(samples.get('libp2p_connections{status="active",role="initiator",transport="???"}'), 2)
    assert.equal(samples.get('libp2p_resource_used{scope="a\\"b",name="a\\"b"}'), 1)
    assert.equal(samples.get('introspectd_feed_connected'), 1)
  })

  test('of many connections, while a client reads nothing', async t => {
    const state = bigState(10000)
    const d = await daemon(t, ['--replay', play(t, state, { ...state, instantTs: state.instantTs + 20 }), '--loop', ...SHORT])
    const lazy = await connect(t, { port: d.port })
    lazy.socket.pause()
    lazy.send(handshake())
    const c = await client(t, d.ws)
    await c.received(1)
    for (let i = 0; i < 3; i++) {
      const [samples] = await Promise.all([scrape(d), c.next()])
      assertTotals(samples, { state: { ...c.snapshots[0].state } })
    }
  })

  test('take a fresh snapshot each, and none in between', async t => {
    await undisturbed(async () => {
      const d = await feedDaemon(t, ['--interval', '50'])
      const n = await node(t, d, i => encodeState(0, { traffic: { trafficIn: { cumBytes: i } } }))
      for (let i = 1; i <= 3; i++) {
        const samples = await scrape(d)
        const taken = samples.get('introspectd_snapshots_taken_total')
        if (taken < i) return   // the node, which is this process, had not the time to answer
        assert.equal(samples.get('libp2p_traffic_bytes_total{direction="in"}'), taken)
        await delay(200)
        assert.deepEqual([taken, n.requests], [i, i])
      }
      return true
    })
  })

  test('of what is fresh enough take none', async t => {
    const d = await feedDaemon(t, HOUR)
    const n = await node(t, d)
    while ((await scrape(d)).get('introspectd_snapshots_taken_total') === 0);   // it does not wait long for the node
    const at = new Set()
    for (let i = 0; i < 3; i++) at.add((await scrape(d)).get('introspectd_snapshots_taken_total'))
    assert.deepEqual([...at, n.requests], [1, 1])
  })

  test('do not wait long for a node that says nothing', async t => {
    const d = await feedDaemon(t, SHORT, { expect: [/^feed_closed /] })
    const before = await scrape(d)
    assert.equal(before.get('introspectd_feed_connected'), 0)
    assert.equal(before.get('libp2p_connections{status="active",role="initiator",transport="other"}'), undefined)
    let silent = true
    const n = await node(t, d, i => silent ? Buffer.alloc(0) : encodeState(0, { instantTs: i }))
    const start = performance.now()
    const during = await scrape(d)
    assert.ok(performance.now() - start < 30000)
    assert.equal(during.get('introspectd_feed_connected'), 1)
    assert.equal(during.get('introspectd_snapshots_taken_total'), 0)
    silent = false
    n.socket.write(encodeState())
    while ((await scrape(d)).get('introspectd_snapshots_taken_total') === 0);
    // and of one that stopped talking, the last is told, and how old it is
    silent = true
    const told = async () => (await scrape(d)).get('introspectd_snapshot_timestamp_seconds')
    let last = await told()   // perhaps of one that it said before
    for (let before; before !== last;) [before, last] = [last, await told()]
    assert.ok(last < Date.now() / 1000 - 0.9, 'it was asked for another one, in vain')
    n.socket.end(Buffer.from([3, 0xff, 0xff, 0xff]))
    await d.line(/^feed_closed/)
    const after = await scrape(d)
    assert.equal(after.get('introspectd_feed_connected'), 0)
    assert.equal(after.get('introspectd_feed_connections_total'), 1)
    assert.equal(after.get('introspectd_feed_errors_total'), 1)
  })

  test('no ping is counted for a scrape that waits', async t => {
    const d = await feedDaemon(t, [...SHORT, '--ping', '0.1'])
    const start = performance.now()
    const samples = await scrape(d)
    assert.ok(performance.now() - start > 900)
    assert.equal(samples.get('introspectd_clients_dropped_total'), 0)
  })

  test('of the daemon itself', async t => {
    const d = await daemon(t, [...SHORT, '--max-clients', '3'])
    const c = await client(t, d.ws)
    await c.received(1)
    const first = await connect(t, { port: d.port })
    first.send(request('GET /metrics HTTP/1.1'))
    await first.end()
    const before = parse(first.body)
    await c.next()
    const lazy = await client(t, d.ws)
    const [{ state }] = [await lazy.received(1)]
    for (let i = 0; i < 5; i++) await c.next()
    const { state: later } = await lazy.next()
    const skipped = Number(later.sequence - state.sequence) - 1
    assert.ok(skipped >= 3)
    const samples = await scrape(d)
    const grew = name => samples.get(name) - before.get(name)
    assert.equal(grew('introspectd_snapshots_sent_total'), 8)
    assert.ok(grew('introspectd_snapshots_skipped_total') >= skipped)
    const frame = ({ length }) => length + (length < 126 ? 2 : length < 65536 ? 4 : 10)
    const sent = [...c.raw.slice(1), ...lazy.raw].reduce((sum, raw) => sum + frame(raw), 0)
    const other = grew('introspectd_sent_bytes_total') - sent - first.head.length - first.body.length
    assert.ok(other > 100 && other < 400, `${other} bytes of a handshake`)
    assert.equal(samples.get('introspectd_clients{state="open"}'), 2)
    assert.equal(samples.get('introspectd_clients{state="answer"}'), 1)
    assert.equal(samples.get('introspectd_clients{state="head"}'), 0)
    assert.equal(samples.get('introspectd_clients_waiting'), 0)
    assert.equal(samples.get('introspectd_clients_max'), 3)
    assert.equal(samples.get('introspectd_snapshot_build_seconds_count'), samples.get('introspectd_snapshots_taken_total'))
    assert.ok(samples.get('introspectd_snapshot_build_seconds_sum') > 0)
  })

  test('of what was refused', async t => {
    const d = await daemon(t, [...HOUR, '--max-clients', '1'], { expect: [/^refused /] })
    const c = await client(t, d.ws)
    await c.received(1)
    const ask = async (...bytes) => {
      const r = await connect(t, { port: d.port })
      r.send(...bytes)
      await r.end()
    }
    await ask('nonsense\r\n\r\n')
    await ask(request('GET / HTTP/1.1', { Host: 'evil.example' }))
    await ask(request('GET /metrics HTTP/1.1', { Origin: 'http://evil.example' }))
    await ask(request('GET /nothing HTTP/1.1'))
    await ask(request('PUT /metrics HTTP/1.1'))
    await ask(handshake({ 'Sec-WebSocket-Version': '12' }))
    await ask(request('GET / HTTP/1.1', { Long: 'x'.repeat(9000) }))
    await ask(handshake())
    c.socket.send('x'.repeat(4097))
    await c.closed
    const refused = Object.entries(startingWith(await scrape(d), 'introspectd_refusals_total'))
      .filter(([, n]) => n > 0).map(([series, n]) => [...series.match(/"(\d+)",reason="(.*)"/).slice(1), n])
    assert.deepEqual(refused, [
      ['400', 'malformed request', 1], ['403', 'this Host is not allowed', 1], ['403', 'this Origin is not allowed', 1],
      ['404', 'nothing at this path', 1], ['405', 'only GET and HEAD', 1],
      ['426', 'Sec-WebSocket-Version is not 13', 1], ['431', 'head over 8192 bytes', 1],
      ['503', 'as many clients as --max-clients allows', 1]
    ])
    assert.deepEqual(startingWith(await scrape(d), 'introspectd_protocol_errors_total'), {
      'introspectd_protocol_errors_total{code="1002"}': 0,
      'introspectd_protocol_errors_total{code="1007"}': 0,
      'introspectd_protocol_errors_total{code="1009"}': 1
    })
  })

  test('are for those who have the token', async t => {
    const path = join(folder(t), 'token')
    writeFileSync(path, `${TOKEN}\n`, { mode: 0o600 })
    const d = await daemon(t, [...HOUR, '--token-file', path], { expect: [/^wrong_token /] })
    for (const method of ['GET', 'HEAD']) {
      const { status } = await fetch(`${d.url}metrics`, { method, headers: { Authorization: 'Bearer wrong-wrong-wrong-wrong' } })
      assert.equal(status, 401)
    }
    assert.equal((await fetch(`${d.url}metrics`)).status, 401)
    assert.equal((await scrape(d, { Authorization: `Bearer ${TOKEN}` }))
      .get('introspectd_refusals_total{status="401",reason="a wrong or no token"}'), 3)
    assert.equal((await fetch(`${d.url}healthz`)).status, 200)
  })

  test('by HEAD are the head alone', async t => {
    const d = await daemon(t, HOUR)
    const c = await connect(t, { port: d.port })
    c.send(request('HEAD /metrics HTTP/1.1'))
    await c.end()
    assert.equal(c.status, 200)
    assert.ok(Number(c.field('Content-Length')) > 1000)
    assert.equal(c.body, '')
  })

  test('whoever is the slowest of many readers has to go', async t => {
    // Whatever can be sent: nothing is.
    const d = await daemon(t, ['--replay', play(t, bigState()), ...HOUR, '-v'], {
      prefix: ['strace', '--daemonize', '--follow-forks', '--quiet=all', '--trace=sendto',
        '--inject=sendto:error=EAGAIN', '--output=/dev/null'],
      env: { ASAN_OPTIONS: 'detect_leaks=0' },
      expect: [/^closed /, /^replay_done /]
    })
    const readers = []
    for (let i = 0; i < 6; i++) {
      const c = await connect(t, { port: d.port })
      c.send(request('GET /metrics HTTP/1.1'))
      readers.push(c)
      if (i < 4) continue
      const { socket, end } = readers[i - 4]
      await d.line(new RegExp(`^closed peer=127.0.0.1:${socket.localPort} reason="too slow: four other scrapes began since"`))
      await end()
    }
    assert.deepEqual(readers.map(c => c.ended), [true, true, false, false, false, false])
  })

  test('whoever leaves before the answer leaves nothing', async t => {
    const d = await feedDaemon(t, [...SHORT, '-v'], { expect: [/^closed /, /^open /] })
    const c = await connect(t, { port: d.port })
    c.send(request('GET /metrics HTTP/1.1'))
    await until(d.child, 'line', () => true)
    c.socket.resetAndDestroy()
    await d.line(/^closed .*reason="closed by the client"/)
    assert.equal((await scrape(d)).get('introspectd_clients{state="answer"}'), 1)
  })
})
