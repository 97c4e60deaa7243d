// The live view, driven in tmux: what stands on the screen.
import assert from 'node:assert/strict'
import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, describe, test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { promisify } from 'node:util'
import { WebSocketServer } from 'ws'
import { build, daemon, folder, ServerMessage, until } from './daemon.mjs'

const program = join(build, 'introspect')
const home = mkdtempSync(join(tmpdir(), 'introspect-'))
// Its server would end with the last pane, also while another test asks it for a new one.
writeFileSync(join(home, 'tmux.conf'), 'set -g exit-empty off\n')
const tmux = async (...args) =>
  (await promisify(execFile)('tmux', ['-u', '-S', join(home, 'tmux'), '-f', join(home, 'tmux.conf'), ...args])).stdout
after(async () => {
  await tmux('kill-server').catch(() => {})   // it was not started
  rmSync(home, { recursive: true })
})

// A shell in a terminal. What its program writes is an event, after which the
// screen is looked at again.
async function terminal (t, { cols = 80, rows = 24, env = {} } = {}) {
  const set = Object.entries({ LC_ALL: 'C.UTF-8', PS1: '$ ', ...env }).flatMap(([k, v]) => ['-e', `${k}=${v}`])
  const id = (await tmux('new-session', '-d', '-P', '-F', '#{pane_id}', '-x', cols, '-y', rows, ...set, 'bash', '--norc')).trim()
  const fifo = join(folder(t), 'output')
  await promisify(execFile)('mkfifo', [fifo])
  const output = spawn('cat', [fifo], { stdio: ['ignore', 'pipe', 'inherit'] })
  const closed = once(output, 'close')
  await tmux('pipe-pane', '-t', id, '-O', `exec cat > ${fifo}`)
  let text = ''
  let looking = false
  let drawn
  // One look at a time: of two at once the older might come last, and stay.
  const look = async () => {
    drawn = true
    if (looking) return
    for (looking = true; drawn; output.emit('drawn')) {
      drawn = false
      text = await tmux('capture-pane', '-p', '-t', id).catch(() => '')
    }
    looking = false
  }
  output.stdout.on('data', look)
  t.after(async () => {
    // What is hung up while its leaks are looked for waits for the look for ever.
    do {
      await tmux('send-keys', '-t', id, 'C-q', 'C-c')
    } while (await s.format('pane_current_command') !== 'bash' && await delay(50, true))
    await tmux('kill-pane', '-t', id)
    output.kill()
    await closed
  })
  const s = {
    lines: () => text.split('\n'),
    keys: (...keys) => tmux('send-keys', '-t', id, ...keys),
    type: line => tmux('send-keys', '-t', id, '-l', line),
    resize: (x, y) => tmux('resize-window', '-t', id, '-x', x, '-y', y),
    format: async what => (await tmux('display-message', '-p', '-t', id, `#{${what}}`)).trim(),
    styled: () => tmux('capture-pane', '-e', '-p', '-t', id),
    pane: id
  }
  // Resolves with the screen when it has all of these.
  s.shows = async (...patterns) => {
    await until(output, 'drawn', () => patterns.every(p => p instanceof RegExp ? p.test(text) : p(s.lines())))
      .catch(error => { throw new Error(`${error.message}; the screen:\n${text}`) })
    return s.lines()
  }
  s.run = async command => { await s.type(command); await s.keys('Enter') }
  await look()
  await s.shows(/^\$$/m)
  return s
}

const connections = Array.from({ length: 30 }, (_, i) => ({
  id: Buffer.from([i]),
  peerId: `12D3KooWpeer${String(i).padStart(2, '0')}`,
  endpoints: { srcMultiaddr: '/ip4/10.0.0.1/tcp/4001', dstMultiaddr: `/ip4/10.0.1.${i}/tcp/4001` },
  agentVersion: i % 2 ? 'kubo/0.32.1' : 'js-libp2p/3.1.3',
  role: i % 2,
  status: i === 5 ? 1 : 0,
  timeline: { openTs: 1700000000000 - i * 60000 },
  latencyNs: 1000000 * i,
  traffic: { trafficIn: { instBw: 1024 * (30 - i), cumBytes: 1 << 20 }, trafficOut: { instBw: 2048 * (i + 1), cumBytes: 1 << 30 } },
  streams: { streams: [{ id: Buffer.from('s'), protocol: `/proto/${i}`, timeline: { openTs: 1699999990000 } }, { protocol: '/ipfs/id/1.0.0', role: 1 }] }
}))
const SILENT = () => null
const node = {
  sequence: 1,
  instantTs: 1700000000000,
  runtime: { peerId: '12D3KooWthenode', implementation: 'js-libp2p', version: '3.1.3', hostname: 'here', source: 'feed' },
  subsystems: { connections, dht: { enabled: true, buckets: [{ peers: [{}, { status: 1 }] }] } },
  protocols: [{ protocol: '/quiet' }, { protocol: '/busy', traffic: { trafficIn: { instBw: 2048 } } }],
  resources: [{ name: 'memory', used: 1 << 20 }, { name: 'open-files', used: 99, limit: 100 },
    { scope: 'age-seconds', name: 'dht', used: 29, limit: 30 }]
}

// Serves a state, and what states(n) gives for the n-th ready, perhaps later: that state again, if
// nothing else is said, or nothing, of which the view says a word after some time.
async function server (t, first = node, states = () => first) {
  const s = new WebSocketServer({ host: '127.0.0.1', port: 0, perMessageDeflate: false })
  await once(s, 'listening')
  s.send = (socket, state) => state &&
    socket.send(ServerMessage.encode(ServerMessage.fromObject({ version: { version: 1 }, state })).finish())
  s.on('connection', socket => {
    s.readies = 0
    socket.on('message', async () => {
      const state = states(++s.readies)
      s.emit('ready')
      s.send(socket, await state)
    })
    socket.on('close', code => s.emit('closed', code))
    s.send(socket, first)
  })
  t.after(() => { s.clients.forEach(c => c.terminate()); s.close() })
  s.address = `127.0.0.1:${s._server.address().port}`
  return s
}

// The table's rows that show a peer of ours, as its number.
const peers = lines => lines.map(l => l.match(/^12D3.*peer(\d+)/)?.[1]).filter(Boolean).map(Number)
const first = n => lines => peers(lines)[0] === n

describe('the live view', { concurrency: 2 }, () => {
  test('shows the node, its totals, and the connections by their rate', async t => {
    const s = await server(t)
    const v = await terminal(t)
    await v.run(`${program} ${s.address}`)
    const lines = await v.shows(/^Enter streams/m, first(0))
    assert.match(lines[0], new RegExp(`^12D3KooWthenode  +js-libp2p 3\\.1\\.3 +● ${s.address}$`))
    assert.match(lines[1], /^here {2}feed +#1 · \d\.\d KiB$/)
    assert.match(lines[3], /^In +465 KiB\/s +30 MiB/)
    assert.match(lines[4], /^Out +930 KiB\/s +30 GiB/)
    assert.match(lines[5], /^Connections {2}30 {2}15 in, 15 out · 60 streams · 1 closed$/)
    assert.match(lines[6], /^Protocols +\/busy 2\.0 KiB\/s · \/quiet$/)
    assert.match(lines[7], /^DHT +peers 2, 1 active · buckets 1$/)
    assert.match(lines[8], /^Resources +memory 1\.0 MiB · open-files 99 of 100 · dht 29s old$/)
    assert.match(lines[10], /^PEER +ADDRESS +AGENT +DIR +STRM +IN\/S▾ +OUT\/S +RTT +AGE/)
    assert.match(lines[11], /^12D3KooWpeer00 +10\.0\.1\.0:4001 +js-libp2p\S* +out +2 +30K +2\.0K +· +·/)
    assert.match(lines[14], /^12D3KooWpeer03 .* in +2 +27K +8\.0K 3\.0ms +3m/)
    assert.deepEqual(peers(lines), [...Array(12).keys()])
    assert.match(lines[23], / 1\/30$/)
  })

  test('--totals: the same figures, and no connections', async t => {
    const s = await server(t, { ...node, traffic: { trafficIn: { instBw: 2048 } } })
    const v = await terminal(t)
    await v.run(`${program} --totals ${s.address}`)
    const lines = await v.shows(/^Resources/m, /Totals alone/)
    assert.match(lines[3], /^In +2\.0 KiB\/s/)
    assert.match(lines[5], /^Connections {2}29 {2}14 in, 15 out · 58 streams$/)
    assert.match(lines[7], /^DHT +peers 2$/)
    assert.deepEqual(peers(lines), [])
    assert.ok(lines.includes('Totals alone were asked for.'))
  })

  test('sorts by any column, either way', async t => {
    const s = await server(t)
    const v = await terminal(t)
    await v.run(`${program} ${s.address}`)
    await v.shows(first(0), /IN\/S▾/)
    await v.keys('>')
    await v.shows(first(29), /OUT\/S▾/)
    await v.keys('r')
    await v.shows(first(0), /OUT\/S▴/)
    await v.keys('>')
    await v.shows(/RTT▾/, first(29))
    await v.keys('<', '<')
    await v.shows(/IN\/S▾/, first(0))
    await v.keys('p')
    await v.shows(/PEER▴ /, first(0))
    await v.keys('p')
    await v.shows(/PEER▾ /, first(29))
  })

  test('moves, and keeps the selected connection in sight', async t => {
    const s = await server(t)
    const v = await terminal(t)
    await v.run(`${program} ${s.address}`)
    await v.shows(/ 1\/30$/m)
    for (const [key, place] of [['Down', 2], ['j', 3], ['Up', 2], ['k', 1], ['PageDown', 12], ['End', 30], ['PageUp', 19],
      ['Home', 1], ['G', 30], ['Home', 1], ['Up', 1]]) {
      await v.keys(key)
      const lines = await v.shows(new RegExp(` ${place}/30$`, 'm'))
      assert.ok(peers(lines).includes(place - 1), `${key}: ${lines.join('\n')}`)
    }
  })

  test('filters by any text, also of the streams', async t => {
    const s = await server(t)
    const v = await terminal(t)
    await v.run(`${program} ${s.address}`)
    await v.shows(/ 1\/30$/m)
    await v.type('/KUBO')
    assert.ok((await v.shows(/^\/KUBO/m, / 1\/15$/m)).some(l => l.includes('kubo')))
    for (let i = 0; i < 4; i++) await v.keys('BSpace')
    await v.type('/proto/17')
    assert.deepEqual(peers(await v.shows(/ 1\/1$/m)), [17])
    await v.keys('Enter')
    await v.shows(/^only what contains \/proto\/17/m)
    await v.keys('Escape')
    await v.shows(/ \d+\/30$/m)
    await v.type('/nothing like this')
    await v.shows(/^No connection contains that\.$/m)
  })

  test('shows the streams of the selected connection', async t => {
    const s = await server(t)
    const v = await terminal(t, { rows: 40 })
    await v.run(`${program} ${s.address}`)
    await v.shows(/^Peer +12D3KooWpeer00 /m, /^\/proto\/0 /m)
    await v.keys('j')
    await v.shows(/^Peer +12D3KooWpeer01 /m, /^\/proto\/1 +active +out +· +10s/m)
    await v.resize(80, 24)
    await v.shows(lines => lines[23].startsWith('Enter streams'), lines => !lines.some(l => l.startsWith('Peer ')))
    await v.keys('Enter')
    const lines = await v.shows(/^Enter back/m, /^\/ipfs\/id\/1\.0\.0 +active +in +·/m, / 1\/2$/m)
    assert.ok(lines.some(l => /^Address +\/ip4\/10\.0\.1\.1\/tcp\/4001 {2}local \/ip4\/10\.0\.0\.1\/tcp\/4001$/.test(l)))
    await v.keys('Down')
    await v.shows(/ 2\/2$/m)
    await v.keys('Escape')
    await v.shows(/ 2\/30$/m)
  })

  test('fits any size', async t => {
    const s = await server(t)
    const v = await terminal(t)
    await v.run(`${program} ${s.address}`)
    await v.shows(/ 1\/30$/m)
    for (const [cols, rows] of [[200, 50], [60, 15], [30, 8], [20, 5], [10, 3], [2, 2], [300, 24], [80, 24]]) {
      await v.resize(cols, rows)
      await v.shows(l => l.length === rows + 1, l => l.every(line => line.length <= cols),
        l => cols < 30 || l[0].includes(s.address),
        l => rows < 5 || cols < 20 || l[rows - 1].startsWith('Enter'))
    }
    await v.shows(first(0), / 1\/30$/m)
  })

  test('the sorted column is never hidden, no port is cut, and titles stand apart', async t => {
    const s = await server(t, { ...node,
      subsystems: { connections: [...connections, { id: Buffer.from('six'), peerId: '12D3KooWpeer30', endpoints: {
        srcMultiaddr: '/ip6/2001:db8:1111:2222:3333:4444:5555:6666/tcp/4001',
        dstMultiaddr: '/ip6/2001:db8:1111:2222:3333:4444:5555:7777/udp/65535/quic-v1' },
        traffic: { trafficIn: { instBw: 1 << 30 } } },
      { id: Buffer.from('p2p'), peerId: '12D3KooWpeer31', endpoints: { dstMultiaddr: '/ip4/10.9.9.9/tcp/4001/p2p/12D3KooWpeer31' },
        traffic: { trafficIn: { instBw: 1 << 29 } } }] } })
    const v = await terminal(t)
    await v.run(`${program} ${s.address}`)
    for (const [key, title] of [['i', 'IN/S'], ['o', 'OUT/S'], ['I', 'IN'], ['O', 'OUT'], ['s', 'STRM'], ['x', 'STATUS'], ['t', 'TRANSPORT']]) {
      await v.keys(key, 'Home')
      for (const cols of [200, 120, 80, 60, 44, 30]) {
        await v.resize(cols, 24)
        const lines = await v.shows(l => l.length === 25 && l.some(line => new RegExp(`\\b${title}[▾▴]( |$)`).test(line)),
          l => l.every(line => line.length <= cols), l => new RegExp(`${s.address}( \\d+s ago)?$`).test(l[0]))
        const titles = lines.find(l => /[▾▴]/.test(l))
        assert.match(titles.replace(/[▾▴]/, ''), /^(PEER|ADDRESS|LOCAL|AGENT|PROCESS|TAGS|TRANSPORT|STATUS|DIR|STRM|IN\/S|OUT\/S|IN|OUT|RTT|AGE| )+$/)
        assert.doesNotMatch(titles, /[▾▴]\S|[A-Z]{10}/)
        for (const line of lines.filter(l => l.startsWith('12D3KooWp') && titles.includes('ADDRESS'))) {
          assert.match(line, /(tcp\/|udp\/|:)(4001|65535)\b/, `${cols}: ${line}`)
        }
      }
    }
    await v.keys('i')
    await v.resize(200, 24)
    await v.shows(/^PEER.* ADDRESS +LOCAL /m, /^12D3KooWpeer31 +\/ip4\/10\.9\.9\.9\/tcp\/4001 /m, /^12D3KooWpeer00 +\/ip4\/10\.0\.1\.0\/tcp\/4001 +\/ip4\/10\.0\.0\.1\/tcp\/4001 /m)
  })

  test('g adds up by peer, then by process, and opens what it added up', async t => {
    const traffic = (i, o) => ({ trafficIn: { instBw: i, cumBytes: 10 * i }, trafficOut: { instBw: o, cumBytes: 10 * o } })
    const of = (id, peerId, process, i, o, more = {}) => ({ id: Buffer.from(id), peerId, traffic: traffic(i, o), latencyNs: 1e6 * i,
      userProvidedTags: process ? [`process=${process}`, `pid=${process.length}`] : [], endpoints: { dstMultiaddr: `/ip4/10.0.0.${id.charCodeAt()}/tcp/9` }, ...more })
    const s = await server(t, { ...node, subsystems: { connections: [
      of('a', 'QmOne', 'kubo', 100, 1), of('b', 'QmTwo', 'kubo', 150, 2), of('c', 'QmOne', 'node', 200, 3, { streams: { streams: [{}, {}] } }),
      of('d', '', '', 5, 5), of('e', 'QmTwo', 'kubo', 1, 0, { status: 1 }), of('\n', '', 'x', 2, 2)] } })
    const v = await terminal(t)
    await v.run(`${program} ${s.address}`)
    await v.shows(/ 1\/6$/m)
    await v.keys('g')
    const lines = await v.shows(/^PEER +CONN +STRM +IN\/S▾ OUT\/S +IN +OUT +RTT$/m, / 1\/4$/m)
    const table = lines.slice(lines.findIndex(l => l.startsWith('PEER')) + 1, -2).filter(l => l)
    assert.deepEqual(table.map(l => l.trim().split(/ +/)), [
      ['QmOne', '2', '2', '300', '4', '3000', '40', '100ms'],
      ['QmTwo', '1', '·', '151', '2', '1510', '20', '1.0ms'],
      ['10.0.0.100', '1', '·', '5', '5', '50', '50', '5.0ms'],
      ['10.0.0.10', '1', '·', '2', '2', '20', '20', '2.0ms']].map(row => row.map(cell => cell === '3000' ? '2.9K' : cell === '1510' ? '1.5K' : cell)))
    await v.keys('g')
    await v.shows(/^PROCESS +CONN /m, /^kubo 4 +2 +· +251 +3 /m, /^node 4 +1 +2 +200 +3 /m, /^\(not known\) +1 +· +5 +5 /m)
    await v.keys('Enter')
    await v.shows(/^only those of kubo 4 +Esc shows all/m, / 1\/3$/m, /^PEER +ADDRESS/m)
    await v.keys('/', 'T', 'w', 'o', 'Enter')
    await v.shows(/^only those of kubo 4, and what contains Two /m, / 1\/2$/m)
    await v.keys('Escape')
    await v.shows(/ \d\/6$/m)
    // 10.0.0.10 is not 10.0.0.100, and connections without a process are a group, too.
    await v.keys('g', 'End', 'Enter')
    await v.shows(/^only those of 10\.0\.0\.10 /m, / 1\/1$/m)
    await v.keys('Escape')
    await v.shows(/ \d\/6$/m)
    await v.keys('g', 'g', 'Down', 'Down', 'Enter')
    await v.shows(/^only those of \(not known\) /m, / 1\/1$/m)
    await v.keys('Escape')
    await v.shows(/ \d\/6$/m)
    await v.keys('g', 'Escape')
    await v.shows(/^PEER +ADDRESS/m)
  })

  test('f chooses columns', async t => {
    const s = await server(t)
    const v = await terminal(t)
    await v.run(`${program} ${s.address}`)
    await v.shows(/^PEER +ADDRESS +AGENT +DIR /m)
    await v.keys('f')
    await v.shows(/^\[x\] n AGENT$/m, /^\[ \] O OUT {2}no room$/m, /^\[ \] m TAGS {2}nothing is known$/m, /^\[x\] i IN\/S {2}sorted by it, so it stays$/m)
    await v.keys('n', 'O')
    await v.shows(/^\[ \] n AGENT {2}hidden$/m, /^\[x\] O OUT {2}chosen$/m)
    await v.keys('Enter')
    await v.shows(/^PEER +ADDRESS +DIR .* OUT +RTT +AGE$/m, /^12D3KooWpeer00 .* 1\.0G +· +·$/m)
    await v.keys('f', 'n', 'O', 'i', 'Escape')
    await v.shows(/^PEER +ADDRESS +AGENT +DIR +STRM +IN\/S▾ OUT\/S +RTT +AGE$/m)
    await v.keys('>')
    await v.shows(/^PEER +ADDRESS +AGENT +DIR +STRM +OUT\/S▾ +RTT +AGE$/m)
  })

  test('w shows rates over 2, 10 and 40 s', async t => {
    const at = (n, cumBytes) => ({ ...node, sequence: n + 1, instantTs: node.instantTs + n * 10000, subsystems: { connections: [
      { ...connections[0], traffic: { trafficIn: { instBw: 7, cumBytes } },
        streams: { streams: [{ id: Buffer.from('s'), protocol: '/averaged/1', traffic: { trafficIn: { instBw: 9, cumBytes: cumBytes * 2 } } }] } }] } })
    const s = await server(t, at(0, 0), n => n < 5 ? at(n, n === 4 ? 40000 : 0) : null)
    const v = await terminal(t)
    await v.run(`${program} --interval 0 ${s.address}`)
    await v.shows(/#5 · /)
    for (const [title, rate] of [['IN2', '3.9K'], ['IN10', '3.9K'], ['IN40', '1000'], ['IN/S', '7']]) {
      await v.keys('w')
      await v.shows(new RegExp(` ${title}▾`), new RegExp(`^12D3KooWpeer00 .* 1 +${rate.replace('.', '\\.')} `, 'm'))
    }
    await v.keys('Enter')
    for (const [title, stream] of [['IN2', '7\\.8K'], ['IN10', '7\\.8K'], ['IN40', '2\\.0K'], ['IN/S', '9']]) {
      await v.keys('w')
      await v.shows(new RegExp(` ${title}`), new RegExp(`/averaged/1 .* ${stream} `))
    }
  })

  test('help scrolls where it does not fit', async t => {
    const s = await server(t)
    const v = await terminal(t, { cols: 40, rows: 10 })
    await v.run(`${program} ${s.address}`)
    await v.shows(first(0))
    await v.keys('?')
    await v.shows(/^up down, j k$/m, / 1-\d+\/\d+$/m, l => l.slice(2).every(line => !line.includes('…')))
    let seen = ''
    for (let at = 1; ; at++) {
      const lines = await v.shows(new RegExp(` ${at}-\\d+\\/\\d+$`, 'm'))
      seen += lines.join('\n')
      const [, end, all] = lines.join('\n').match(/-(\d+)\/(\d+)$/m)
      if (end === all) break
      await v.keys('Down')
    }
    assert.match(seen, /show all[^]*^q$[^]*^Sort by[^]* a AGE$/m)
    await v.keys('Down', 'Home')
    await v.shows(/^up down, j k$/m)
    await v.keys('?')
    await v.shows(first(0))
  })

  test('what the kernel adds: sockets the node does not list, its numbers, flows of which nobody knows who dialled', async t => {
    const traffic = n => ({ trafficIn: { instBw: n, cumBytes: n } })
    const s = await server(t, { ...node, subsystems: { connections: [
      { id: Buffer.from('a'), peerId: '12D3KooWpeer01', kernelTraffic: true, traffic: traffic(3000) },
      { id: Buffer.from('b'), unlisted: true, traffic: traffic(2000), endpoints: { dstMultiaddr: '/ip4/10.0.0.9/tcp/9' } },
      { id: Buffer.from('c'), peerId: '12D3KooWpeer02', traffic: traffic(1000), userProvidedTags: ['process=kubo', 'pid=12', 'role=unknown', 'mine'] }
    ] } })
    const v = await terminal(t, { cols: 120, rows: 40 })
    await v.run(`${program} ${s.address}`)
    const lines = await v.shows(/^Connections {2}3 {2}0 in, 2 out, 1 unknown/m, /^12D3KooWpeer01 .* 2\.9K\* +2\.9K\*$/m, /^unlisted +\S*10\.0\.0\.9\S* .* 2\.0K /m)
    assert.match(lines.find(l => l.startsWith('12D3KooWpeer02')), / kubo 12 +mine +active +\? +1000 /)
    await v.keys('j')
    await v.shows(/^Connection +active · the node does not list it/m)
    await v.keys('j')
    await v.shows(/^Connection +active · who dialled is not known · kubo 12 · mine$/m)
    await v.type('/unlisted')
    await v.shows(/ 1\/1$/m)
  })

  test('of a stream that nobody knows who opened the direction is not told', async t => {
    const streams = [{ id: Buffer.from('a'), protocol: '/told/1', role: 1 }, { id: Buffer.from('b'), protocol: '/untold/1', userProvidedTags: ['role=unknown'] }]
    const s = await server(t, { ...node, subsystems: { connections: [{ id: Buffer.from('a'), peerId: '12D3KooWpeer01', streams: { streams } }] } })
    const v = await terminal(t, { cols: 120 })
    await v.run(`${program} ${s.address}`)
    await v.shows(/^Enter streams/m)
    await v.keys('Enter')
    await v.shows(/^\/told\/1 .* in /m, /^\/untold\/1 .* \? /m)
  })

  test('says a word when the node is gone', async t => {
    const s = await server(t, { ...node, runtime: { ...node.runtime, intervalMs: 100 } }, SILENT)
    const v = await terminal(t)
    await v.run(`${program} ${s.address}`)
    await v.shows(/^Enter streams/m)
    await v.shows(/^No word from the node for \d+s: is it gone\?/m)
  })

  test('combining marks stay with their characters, and what follows in its place', async t => {
    const names = ['Cafe\u0301', 'हिन्दी', '\u2764\ufe0f', 'Z' + '\u0301'.repeat(9)]
    const s = await server(t, { ...node, subsystems: { connections: names.map((agentVersion, i) => ({ ...connections[i], agentVersion })) } })
    const v = await terminal(t, { cols: 100 })
    await v.run(`${program} ${s.address}`)
    const lines = await v.shows(first(0), / 1\/4$/m)
    for (const [i, name] of names.slice(0, 3).entries()) {
      assert.match(lines.find(l => l.includes(`peer0${i}`)), new RegExp(` ${name} +(in|out) `))
    }
    assert.match(lines.find(l => l.includes('peer03')), / Z\u0301{4}\ufffd{5} +in /)
  })

  test('help, and its way back', async t => {
    const s = await server(t)
    const v = await terminal(t)
    await v.run(`${program} ${s.address}`)
    await v.shows(first(0))
    await v.keys('?')
    await v.shows(/^Enter +its streams, and back$/m, /^Sort by +p PEER/m)
    await v.keys('Escape')
    await v.shows(first(0))
    // Behind the help no key does what cannot be seen.
    for (const key of ['f', 'g', '/', 'Enter', 'Space', '?']) {
      await v.keys('?')
      await v.shows(/^Sort by +p PEER/m)
      await v.keys(key)
      await v.shows(first(0), /^PEER +ADDRESS/m, lines => !/ paused$/.test(lines[0]) && !lines[23].startsWith('/'))
    }
  })

  test('follows the node: skipped snapshots, the row in the first place, the selected row', async t => {
    const shown = [1, 2].map(() => Promise.withResolvers())
    const s = await server(t, node, async n => {
      if (n > 2) return null
      await shown[n - 1].promise
      const rest = connections.map((c, i) => ({ ...c, traffic: { trafficIn: { instBw: i * n } } }))
      return { ...node, sequence: 1 + 3 * n, subsystems: { connections: n === 1 ? rest : rest.slice(0, 20) } }
    })
    const v = await terminal(t)
    await v.run(`${program} --interval 0.3 ${s.address}`)
    await v.shows(/#1 · /, first(0))
    shown[0].resolve()
    await v.shows(/#4 · 2 skipped/, first(29), / 1\/30$/m)
    await v.keys('Down', 'Down')
    await v.shows(/ 3\/30$/m)
    shown[1].resolve()
    await v.shows(/#7 · 4 skipped/, first(19), /^Connections {2}20 /m)
  })

  test('Space holds still: the node is asked for nothing', async t => {
    const s = await server(t, node, n => ({ ...node, sequence: n + 1 }))
    const v = await terminal(t)
    await v.run(`${program} --interval 0.05 ${s.address}`)
    await v.shows(/#\d+ · /)
    await v.keys('Space')
    await v.shows(/ paused$/m)
    const [socket] = s.clients
    socket.ping()
    await once(socket, 'pong')   // a ready that was sent before has come
    const readies = s.readies
    await v.keys('?')
    await v.shows(/^Sort by/m)
    await v.keys('Escape')
    await v.shows(first(0))
    assert.equal(s.readies, readies)
    await v.keys('Space')
    await until(s, 'ready', () => s.readies > readies + 2)
    await v.shows(lines => !/ paused$/.test(lines[0]))
  })

  test('Space holds still: a snapshot that was asked for before is shown after', async t => {
    const s = await server(t, node, SILENT)
    const v = await terminal(t)
    await v.run(`${program} --interval 0 ${s.address}`)
    await until(s, 'ready', () => s.readies === 1)
    await v.shows(/#1 · /)
    await v.keys('Space')
    await v.shows(/ paused$/m)
    const [socket] = s.clients
    s.send(socket, { ...node, sequence: 2 })
    socket.ping()
    await once(socket, 'pong')   // the snapshot before it was read
    await v.keys('?')
    await v.shows(/^Sort by/m, /#1 · /)
    await v.keys('?', 'Space')
    await v.shows(/#2 · /, lines => !/ paused$/.test(lines[0]))
    await until(s, 'ready', () => s.readies === 2)
  })

  test('a terminal that another program made non-blocking, and that takes nothing for a while', async t => {
    const s = await server(t, node, SILENT)
    const v = await terminal(t)
    await v.run(`perl -MFcntl -e 'fcntl STDOUT, F_SETFL, O_RDWR | O_NONBLOCK'; ${program} --interval 0 ${s.address}`)
    await until(s, 'ready', () => s.readies === 1)
    await v.shows(/#1 · /)
    await v.keys('C-s')
    const [socket] = s.clients
    s.send(socket, { ...node, sequence: 2 })
    socket.ping()
    await Promise.race([once(socket, 'pong'), delay(500)])
    await v.keys('C-q')
    await v.shows(/#2 · /)
    await until(s, 'ready', () => s.readies === 2)
  })

  test('is ready when it has drawn', async t => {
    const s = await server(t, node, SILENT)
    const v = await terminal(t)
    await v.run(`${program} --interval 0 ${s.address}`)
    await until(s, 'ready', () => s.readies === 1)
    // Written before the ready; tmux may still be at it.
    await v.shows(first(0))
    assert.equal(s.readies, 1)
  })

  test('shows what it looks for, and the daemon once it is there', async t => {
    const path = join(folder(t), 's')
    const v = await terminal(t)
    await v.run(`${program} ${path}`)
    await v.shows(/looking again in \d+ s$/m, /^No connection:$/m, /: No such file or directory$/m, /^Start introspectd if none runs/m)
    const d = await daemon(t, ['--listen', path, '--pid', `${process.pid}`], { expect: [/^watching /] })
    await v.shows(/^#1 ·|  #1 ·/m, /^ADDRESS|^No connections/m)
    await d.stop()
    await v.shows(/○ reconnecting in \d+ s$/m, /s: closed the connection \(1001, going away\)/)
    assert.match(await v.styled(), /\x1b\[2m/)
    await daemon(t, ['--listen', path, '--pid', `${process.pid}`], { expect: [/^watching /] })
    await v.shows(lines => / ● \S+s$/.test(lines[0]))
  })

  test('shows how old the last snapshot is', async t => {
    const s = await server(t, node, SILENT)
    const v = await terminal(t)
    await v.run(`${program} ${s.address}`)
    const age = Number((await v.shows(/ \d+s ago$/m)).join('\n').match(/ (\d+)s ago$/m)[1])
    await v.shows(lines => Number(lines.join('\n').match(/ (\d+)s ago$/m)?.[1]) > age)
  })

  test('no text of a peer is a command to the terminal', async t => {
    const evil = '\x1b[2J\x1b]2;pwned\x07\x9b31m\r\n\t\b\u202e\u200b\u0301é日本'
    const s = await server(t, {
      sequence: 1,
      runtime: { peerId: evil, implementation: evil, version: evil, platform: evil, hostname: evil, source: evil },
      addresses: [{ multiaddr: evil }],
      protocols: [{ protocol: evil }],
      topics: [{ name: evil }],
      resources: [{ name: evil }],
      subsystems: {
        connections: [{
          peerId: evil,
          endpoints: { srcMultiaddr: evil, dstMultiaddr: evil },
          agentVersion: evil,
          transportId: Buffer.from(evil),
          userProvidedTags: [evil],
          attribs: { encryption: evil, multiplexer: evil },
          streams: { streams: [{ protocol: evil }] }
        }]
      }
    })
    const v = await terminal(t, { cols: 200, rows: 50 })
    const title = await v.format('pane_title')
    await v.run(`${program} ${s.address}`)
    const lines = await v.shows(/^Enter streams/m, / 1\/1$/m)
    const shown = '\ufffd[2J\ufffd]2;pwned\ufffd\ufffd31m' + '\ufffd'.repeat(7) + 'é日本'
    assert.ok(lines.filter(l => l.includes(shown)).length >= 9, lines.join('\n'))
    assert.equal(await v.format('pane_title'), title)
  })

  test('in plain ASCII where the locale has no more', async t => {
    const s = await server(t, { ...node, runtime: { peerId: 'é' } })
    const v = await terminal(t, { env: { LC_ALL: 'C' } })
    await v.run(`${program} ${s.address}`)
    const lines = await v.shows(/^Enter streams/m, first(0))
    assert.match(lines.join(''), /^[ -~]*$/)
    assert.match(lines[0], /^\?\? .* \* 127/)
  })

  test('in ASCII on the console of Linux, but for what others say', async t => {
    const s = await server(t, { ...node, runtime: { peerId: 'é\u0301日\x07' } })
    const v = await terminal(t, { rows: 40 })
    await v.run(`TERM=linux ${program} ${s.address}`)
    const lines = await v.shows(/^Enter streams/m, first(0))
    assert.match(lines[0], /^é\?日\? .* \* 127/)
    assert.match(lines.slice(1).join(''), /^[ -~]*$/)
  })

  test('no colours with NO_COLOR', async t => {
    const s = await server(t)
    for (const [value, colours] of [['', true], ['1', false]]) {
      const v = await terminal(t, { env: { NO_COLOR: value } })
      await v.run(`${program} ${s.address}`)
      await v.shows(first(0))
      assert.equal(/\x1b\[[0-9;]*3[1-7]m/.test(await v.styled()), colours)
    }
  })

  test('ten thousand connections', async t => {
    const many = Array.from({ length: 10000 }, (_, i) => ({ ...connections[i % 30], id: Buffer.from(`${i}`), latencyNs: i + 1 }))
    const s = await server(t, { ...node, subsystems: { connections: many } }, SILENT)
    const v = await terminal(t)
    await v.run(`${program} --max-message 100000000 ${s.address}`)
    await v.shows(/^Connections {2}10000 /m)
    await v.keys('l', 'G')
    await v.shows(/ 10000\/10000$/m, /\b0us\b|\b1ns\b|\b0\.0us\b/)
  })
})

describe('the terminal is as it was', { concurrency: 2 }, () => {
  // Runs it between two looks at the terminal's modes; how it ends is done(v, pid).
  async function same (t, done, status, address) {
    const path = folder(t)
    const s = address ? null : await server(t)
    const v = await terminal(t)
    await v.run(`clear; echo before; stty -a > ${path}/a; ${program} ${address ?? s.address}`)
    await v.shows(address ? /looking again/ : first(0))
    assert.equal(await v.format('alternate_on'), '1')
    assert.equal(await v.format('cursor_flag'), '0')
    await done(v)
    await v.shows(/^before$/m, /^\$$/m)
    await v.run(`echo status=$? > ${path}/status; stty -a > ${path}/b; echo after`)
    await v.shows(/^before$/m, /^after$/m)
    assert.equal(readFileSync(`${path}/status`, 'utf8'), `status=${status}\n`)
    assert.equal(readFileSync(`${path}/b`, 'utf8'), readFileSync(`${path}/a`, 'utf8'))
    assert.equal(await v.format('alternate_on'), '0')
    assert.equal(await v.format('cursor_flag'), '1')
    assert.equal(await v.format('wrap_flag'), '1')
  }
  const pid = async v => Number((await promisify(execFile)('pgrep', ['-x', '-t', (await v.format('pane_tty')).replace('/dev/', ''), 'introspect'])).stdout)

  test('after q', t => same(t, v => v.keys('q'), 0))
  test('after q without a connection', t => same(t, v => v.keys('q'), 0, '/nowhere/at/all'))
  test('after Ctrl-C', t => same(t, v => v.keys('C-c'), 130))
  for (const [signal, status] of [['SIGINT', 130], ['SIGTERM', 143], ['SIGHUP', 129], ['SIGQUIT', 131]]) {
    test(`after ${signal}`, t => same(t, async v => process.kill(await pid(v), signal), status))
  }

  test('while it is stopped, and is taken again', async t => {
    const path = folder(t)
    const s = await server(t)
    const v = await terminal(t)
    await v.run(`stty -a > ${path}/a; ${program} ${s.address}`)
    await v.shows(first(0))
    await v.keys('C-z')
    await v.shows(/Stopped/)
    assert.equal(await v.format('alternate_on'), '0')
    await v.run(`stty -a > ${path}/b; echo done`)
    await v.shows(/^done$/m)
    assert.equal(readFileSync(`${path}/b`, 'utf8'), readFileSync(`${path}/a`, 'utf8'))
    await v.run('fg')
    await v.shows(first(0), /^Enter streams/m)
    assert.equal(await v.format('alternate_on'), '1')
    await v.keys('j')
    await v.shows(/ 2\/30$/m)
    await v.keys('q')
    await v.shows(/^\$$/m)
    assert.equal(await v.format('alternate_on'), '0')
  })

  test('TERM=dumb is refused', async t => {
    const v = await terminal(t, { env: {} })
    await v.run(`TERM=dumb ${program}; echo status=$?`)
    await v.shows(/^introspect: TERM=dumb cannot show the live view: try --json$/m, /^status=2$/m)
  })

  test('goodbye is said to the daemon', async t => {
    const s = await server(t)
    const v = await terminal(t)
    await v.run(`${program} ${s.address}`)
    await v.shows(first(0))
    const closed = once(s, 'closed')
    await v.keys('q')
    assert.deepEqual(await closed, [1000])
  })
})
