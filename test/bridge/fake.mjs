// A node's HTTP API as far as the bridge asks it, and the bridge itself.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createServer } from 'node:http'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { build, schema, undisturbed, until } from '../integration/daemon.mjs'

export const State = schema.lookupType('introspection.State')

export const PEER = {
  Addr: '/ip4/192.0.2.1/udp/4001/quic-v1',
  Peer: '12D3KooWPeerA',
  Latency: '1.5ms',
  Direction: 1,
  Streams: [{ Protocol: '/meshsub/1.3.0' }, { Protocol: '/meshsub/1.3.0' }, { Protocol: '/a b&c/1' }],
  Identify: { ID: '12D3KooWPeerA', AgentVersion: 'kubo/0.42.0', Protocols: ['/x'] }
}

// What Kubo answers, by path and query; a function gets request and response.
export const KUBO = {
  '/api/v0/swarm/peers?verbose=true&identify=true': {
    Peers: [PEER, { Addr: '/ip4/192.0.2.2/tcp/4001', Peer: '12D3KooWPeerB', Latency: 'n/a', Direction: 2, Streams: null }]
  },
  '/api/v0/id': { ID: '12D3KooWSelf', AgentVersion: 'kubo/0.42.0/' },
  '/api/v0/version': { Version: '0.42.0', System: 'amd64/linux' },
  '/api/v0/swarm/addrs/autonat': { reachability: 'Public', reachable: ['/ip4/203.0.113.1/tcp/4001'], unreachable: ['/ip6/::1/tcp/4001'] },
  '/api/v0/swarm/addrs/local': { Strings: ['/ip4/203.0.113.1/tcp/4001', '/ip4/10.0.0.1/tcp/4001'] },
  '/api/v0/stats/bw': { TotalIn: 9007199254740993n, TotalOut: 5, RateIn: 12.75, RateOut: 0 },
  '/api/v0/stats/bw?proto=%2Fmeshsub%2F1.3.0': { TotalIn: 100, TotalOut: 50, RateIn: 1, RateOut: 2 },
  '/api/v0/stats/bw?proto=%2Fa%20b%26c%2F1': { TotalIn: 7, TotalOut: 0, RateIn: 0, RateOut: 0 },
  '/api/v0/stats/dht': '{"Name":"wan","Buckets":[]}\n{"Name":"lan","Buckets":[{"Peers":null},' +
    '{"Peers":[{"ID":"12D3KooWPeerA","Connected":true},{"ID":"12D3KooWGone","Connected":false}]}]}\n',
  '/api/v0/swarm/resources': {
    System: { Conns: 'unlimited', ConnsUsage: 2, ConnsInbound: 12052, ConnsInboundUsage: 1, Memory: '12638255104', MemoryUsage: 1310720, FD: 'blockAll' }
  },
  '/api/v0/config?arg=Swarm.ConnMgr': { Key: 'Swarm.ConnMgr', Value: { HighWater: 96, LowWater: 32 } },
  '/api/v0/pubsub/ls': { Strings: ['udG9waWMx'] },
  '/api/v0/pubsub/peers?arg=udG9waWMx': { Strings: ['12D3KooWPeerA'] }
}

export const text = answer => typeof answer === 'string'
  ? answer
  : JSON.stringify(answer, (_, v) => typeof v === 'bigint' ? JSON.rawJSON?.(v.toString()) ?? `#${v}#` : v).replace(/"#(\d+)#"/g, '$1')

// The same value with another in place of one member, for each member that is of another type.
const type = value => Array.isArray(value) ? 'array' : value === null ? 'null' : typeof value

export function * replaced (value, other, key) {
  if (key && type(value) !== 'null' && type(value) !== type(other)) yield [other, key]
  if (type(value) === 'array') {
    for (let i = 0; i < value.length; i++) for (const [v, k] of replaced(value[i], other, key)) yield [value.with(i, v), k]
  } else if (type(value) === 'object') {
    for (const k of Object.keys(value)) for (const [v, name] of replaced(value[k], other, k)) yield [{ ...value, [k]: v }, name]
  }
}

// n.answers may be changed at any time; n.asked: the paths that were asked for so far.
export async function fakeNode (t, answers = KUBO, { port = 0, method = 'POST' } = {}) {
  const n = { answers: { ...answers }, asked: [] }
  n.server = createServer((request, response) => {
    n.asked.push(request.url)
    n.server.emit('asked')
    const answer = n.answers[request.url]
    if (request.method !== method) response.writeHead(405).end()
    else if (typeof answer === 'function') answer(request, response)
    else if (answer === undefined) response.writeHead(404).end('404 page not found\n')
    else response.end(text(answer))
  }).listen(port, '127.0.0.1')
  await once(n.server, 'listening')
  n.port = n.server.address().port
  n.url = `http://127.0.0.1:${n.port}`
  n.times = path => n.asked.filter(asked => asked === path).length
  n.close = () => { n.server.closeAllConnections(); n.server.close() }
  t.after(n.close)
  return n
}

// The bridge, with its lines on stderr. A sanitizer's own work at the end is not for the sandbox.
export function bridge (t, args, { stdout = 'pipe', from = build, env, prefix = [] } = {}) {
  const sandbox = /asan/.test(from) ? ['--no-sandbox'] : []
  const [program, ...all] = [...prefix, join(from, 'introspect-bridge'), ...sandbox, ...args]
  const child = spawn(program, all, {
    stdio: ['ignore', stdout, 'pipe'],
    env: { ...process.env, IPFS_PATH: '/nonexistent', ...env }
  })
  const b = { child, lines: [], exit: once(child, 'close') }
  createInterface({ input: child.stderr }).on('line', line => { b.lines.push(line); child.emit('line', line) })
  b.line = (pattern, ms) => until(child, 'line', () => b.lines.find(line => pattern.test(line)), ms)
  b.stop = async () => { child.kill(); return b.exit }
  t.after(() => { child.kill('SIGKILL') })
  return b
}

// --once: the State, the exit status and what was said.
export async function askOnce (t, kind, url, ...options) {
  const args = options.filter(option => typeof option === 'string')
  const b = bridge(t, [kind, url, '--once', ...args], options.find(option => typeof option === 'object'))
  let out = ''
  b.child.stdout.setEncoding('utf8').on('data', data => { out += data })
  const [code, signal] = await b.exit
  return { state: out ? JSON.parse(out) : undefined, code, signal, said: b.lines.join('\n'), lines: b.lines }
}

// Again if an answer came too late, which on a busy machine it may.
export const ask = (...all) => undisturbed(async () => {
  const told = await askOnce(...all)
  return /timed out/.test(told.said) ? undefined : told
})
