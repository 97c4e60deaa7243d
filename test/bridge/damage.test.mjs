// Answers that no node should give end in one line that names the question, never in a crash.
import assert from 'node:assert/strict'
import { resolve } from 'node:path'
import test from 'node:test'
import { FRUGAL, memory, root } from '../integration/daemon.mjs'
import { ask, askOnce, bridge, fakeNode, KUBO, PEER, replaced, text } from './fake.mjs'

const plain = resolve(root, process.env.BRIDGE_BUILD ?? 'build')
const PEERS = '/api/v0/swarm/peers?verbose=true&identify=true'

// One round in which this question is answered so. What is wrong is to be said in one line.
async function damaged (t, n, path, answer, wanted, settings) {
  n.answers = { ...KUBO, [path]: answer }
  const { code, signal, lines, state } = await (wanted.source.includes('timed out') ? askOnce : ask)(t, 'kubo', n.url, settings)
  assert.equal(signal, null, `killed: ${lines.join('\n')}`)
  assert.equal(code, 1, `${path} ${typeof answer === 'function' ? answer : text(answer).slice(0, 500)}: ${lines}`)
  assert.equal(lines.length, 1, lines.join('\n'))
  assert.ok(lines[0].startsWith(`introspect-bridge: ${n.url}${path}: `), lines[0])
  assert.match(lines[0], wanted)
  assert.match(lines[0], /^[ -~]{1,600}$/)
  return state
}

test('cut at every byte', async t => {
  const n = await fakeNode(t)
  const whole = JSON.stringify({ Peers: [{ Addr: '/ip4/1.2.3.4/tcp/1', Peer: 'Qm', Direction: 1, Streams: [{ Protocol: '/é' }] }] })
  const buffer = Buffer.from(whole)
  const cuts = Array.from({ length: buffer.length }, (_, i) => buffer.subarray(0, i))
  for (const cut of cuts) await damaged(t, n, PEERS, (_, response) => response.end(cut), /not JSON: byte \d+ of \d+/)
})

test('an answer that is shorter than was announced', async t => {
  const n = await fakeNode(t)
  await damaged(t, n, PEERS, (_, response) => {
    response.writeHead(200, { 'Content-Length': 1000 })
    response.write('{"Peers":[]}')
    setTimeout(() => response.destroy(), 50)
  }, /\d+ bytes|transfer|closed/)
})

test('wrong types in every field', async t => {
  const n = await fakeNode(t)
  const unread = new Set(['reachability', 'Key', 'Protocols', 'ID', 'Connected'])   // ID: of Identify
  for (const [path, answer] of Object.entries(KUBO)) {
    if (typeof answer === 'string') continue
    for (const other of [{ x: 1 }, [], true]) {
      for (const [wrong, key] of replaced(answer, other)) {
        if (unread.has(key) || (/pubsub.peers/.test(path) && Array.isArray(wrong.Strings))) continue   // counted only
        const state = await damaged(t, n, path, wrong, /: .*(is not|expected an object)/)
        assert.ok(state.subsystems.connections || path === PEERS)
      }
    }
  }
})

test('wrong types in the routing table', async t => {
  const n = await fakeNode(t)
  for (const wrong of [
    '{"Name":"wan","Buckets":5}', '{"Name":"wan","Buckets":[7]}', '{"Name":"lan","Buckets":[{"Peers":{}}]}',
    '{"Name":"lan","Buckets":[{"Peers":["x"]}]}', '{"Name":"lan","Buckets":[{"Peers":[{"ID":5}]}]}',
    '{"Name":5,"Buckets":[]}', '[]', '{"Name":"wan"}{', '{"Name":"wan","Buckets":[]} x'
  ]) await damaged(t, n, '/api/v0/stats/dht', wrong, /: .*(is not|expected an object)/)
})

test('numbers of every size are numbers, and those beyond 64 bits are named', async t => {
  const n = await fakeNode(t)
  const total = async number => {
    n.answers = { ...KUBO, '/api/v0/stats/bw': `{"TotalIn":${number},"TotalOut":5,"RateIn":0,"RateOut":0}` }
    return (await ask(t, 'kubo', n.url)).state.traffic.trafficIn.cumBytes
  }
  for (const [number, wanted] of [
    ['9007199254740993', '9007199254740993'], ['9223372036854775807', '9223372036854775807'], ['"18446744073709551615"', '18446744073709551615'],
    ['1e3', '1000'], ['1e300', '18446744073709551615'], ['-5', undefined], ['-1e300', undefined], ['"-5"', undefined], ['"x"', undefined], ['null', undefined]
  ]) assert.equal(await total(number), wanted, number)
  for (const number of ['18446744073709551616', '1e999', '0x10', '01', 'NaN']) {
    await damaged(t, n, '/api/v0/stats/bw', `{"TotalIn":${number}}`, /not JSON/)
  }
})

test('text that peers chose: NUL, quotes, newlines and what is not UTF-8', async t => {
  const n = await fakeNode(t)
  n.answers[PEERS] = '{"Peers":[{"Addr":"/ip4/1.2.3.4/tcp/1","Peer":"Qm","Identify":{"AgentVersion":"a\\u0000b"}},' +
    '{"Addr":"/ip4/1.2.3.4/tcp/2","Peer":"Qn","Identify":{"AgentVersion":"\\"\\n\\u001b[2J"}}]}'
  const { state, said } = await ask(t, 'kubo', n.url)
  assert.equal(said, '')
  assert.deepEqual(state.subsystems.connections.map(c => c.agentVersion), ['a', '"\n\x1b[2J'])
  await damaged(t, n, PEERS, (_, response) => response.end(Buffer.from('7b2250656572ff22', 'hex')), /not JSON/)
  await damaged(t, n, PEERS, '{"Peers":[{"Peer":"\\ud800"}]}', /not JSON/)
})

test('no JSON, and none at all', async t => {
  const n = await fakeNode(t)
  await damaged(t, n, PEERS, '<!DOCTYPE html>\n<html>', /not JSON: byte \d+ of 22/)
  await damaged(t, n, PEERS, '', /not JSON/)
  await damaged(t, n, PEERS, '5', /not JSON/)
  await damaged(t, n, PEERS, '[]', /expected an object with 'Peers'/)
  await damaged(t, n, PEERS, '['.repeat(100000), /not JSON: .*depth/)
  await damaged(t, n, PEERS, '{"Peers":' + '{"a":'.repeat(3000), /not JSON: .*depth/)
  await damaged(t, n, PEERS, (_, response) => response.writeHead(401).end('who?\n'), /HTTP status 401: .*--token-file.*: who\?$/)
  await damaged(t, n, PEERS, (_, response) => response.writeHead(302, { Location: 'http://192.0.2.1/x' }).end(), /HTTP status 302 leads to http:\/\/192.0.2.1\/x/)
  await damaged(t, n, PEERS, (_, response) => response.writeHead(500).end('"\x1b[2J\n'), /HTTP status 500: '\?\[2J$/)
  await damaged(t, n, PEERS, (_, response) => response.writeHead(204).end(), /HTTP status 204/)
  await damaged(t, n, PEERS, (request, response) => request.socket.end('SSH-2.0-x\r\n'), /./)
  await damaged(t, n, PEERS, (request) => request.socket.destroy(), /./)
})

// What the manual says that answers take, and 32 MiB for the rest of the program.
const BOUNDED = { from: plain, prefix: ['prlimit', `--data=${(64 + 384 + 32) << 20}`] }

const endless = chunk => (_, response) => {
  const more = () => { while (!response.destroyed && response.write(chunk)); }
  response.on('drain', more)
  response.on('error', () => {})
  more()
}

test('an answer without end, and one of very many values: memory is bounded', async t => {
  const n = await fakeNode(t)
  await damaged(t, n, PEERS, endless(Buffer.alloc(1 << 20, ' ')), /over 67108864 bytes/, BOUNDED)
  await damaged(t, n, PEERS, (_, response) => response.end('[' + '{},'.repeat(21e6) + '{}]'), /takes over 402653184 bytes of memory/, BOUNDED)
  const little = { ...BOUNDED, prefix: ['prlimit', `--data=${192 << 20}`] }   // less than would be allowed
  await damaged(t, n, PEERS, (_, response) => response.end('[' + '{},'.repeat(21e6) + '{}]'), /takes over \d{8,9} bytes of memory/, little)
  await damaged(t, n, '/api/v0/stats/dht', endless('{"Name":"lan","Buckets":[]}\n'.repeat(40000)), /over 67108864 bytes/, BOUNDED)
  await damaged(t, n, '/api/v0/stats/dht', (_, response) => response.end('{}'.repeat(30e6)), /takes over 402653184 bytes of memory/, BOUNDED)
})

test('100,000 peers', async t => {
  const n = await fakeNode(t)
  n.answers[PEERS] = text({ Peers: Array.from({ length: 100000 }, (_, i) => ({ Addr: `/ip4/10.${i >> 16}.${i >> 8 & 255}.${i & 255}/tcp/4001`, Peer: `Qm${i}`, Direction: 2, Streams: [{ Protocol: '/x' }] })) })
  const asInstalled = { from: plain }   // a sanitizer's malloc() has another size
  const { state, said, code } = await ask(t, 'kubo', n.url, asInstalled)
  assert.equal(said, '')
  assert.equal(code, 0)
  assert.equal(state.subsystems.connections.length, 100000)
  n.answers[PEERS] = text({ Peers: Array.from({ length: 100000 }, () => PEER) })
  assert.equal((await ask(t, 'kubo', n.url, asInstalled)).state.subsystems.connections.length, 100000)
})

test('a node that drips is waited for no longer than a round', async t => {
  const n = await fakeNode(t)
  const started = Date.now()
  await damaged(t, n, PEERS, (_, response) => {
    const timer = setInterval(() => response.write(' '), 100)
    response.on('close', () => clearInterval(timer))
  }, /timed out after \d{5} milliseconds/)
  assert.ok(Date.now() - started >= 10000)
  n.answers = { ...KUBO }
  for (const path of Object.keys(KUBO)) if (path !== PEERS) n.answers[path] = () => {}
  const { state, lines } = await askOnce(t, 'kubo', n.url)
  assert.equal(state.subsystems.connections.length, 2)
  assert.equal(lines.length, 1)
  assert.match(lines[0], /timed out/)
  assert.ok(Date.now() - started >= 39000 && n.asked.length < 8, `${n.asked}`)
})

test('round after round, memory stays flat', async t => {
  const n = await fakeNode(t, { ...KUBO, [PEERS]: { Peers: Array.from({ length: 1000 }, (_, i) => ({ ...PEER, Peer: `Qm${i}` })) } })
  const b = bridge(t, ['kubo', n.url, '--interval', '100'], { stdout: 'ignore', env: FRUGAL })
  const rounds = async count => { while (n.times(PEERS) < count) await new Promise(resolve => n.server.once('asked', resolve)) }
  await rounds(10)
  const before = memory(b.child)
  await rounds(60)
  assert.ok(memory(b.child) - before < 16384, `${before} to ${memory(b.child)} KiB`)
})
