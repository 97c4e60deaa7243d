// What a Kubo answers becomes a State, field by field.
import assert from 'node:assert/strict'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'node:test'
import { folder } from '../integration/daemon.mjs'
import { ask, fakeNode, KUBO, PEER, text } from './fake.mjs'

const PEERS = '/api/v0/swarm/peers?verbose=true&identify=true'
const bytes = text => Buffer.from(text, 'base64').toString()

test('every field', async t => {
  const n = await fakeNode(t)
  const { state, code, said } = await ask(t, 'kubo', n.url)
  assert.equal(said, '')
  assert.equal(code, 0)
  assert.deepEqual(state.runtime, { implementation: 'kubo', version: '0.42.0', platform: 'amd64/linux', peerId: '12D3KooWSelf' })
  const [a, b] = state.subsystems.connections
  assert.equal(a.peerId, '12D3KooWPeerA')
  assert.equal(a.role, 'RESPONDER')
  assert.equal(a.latencyNs, '1500000')
  assert.equal(a.agentVersion, 'kubo/0.42.0')
  assert.equal(bytes(a.transportId), 'ip4+udp+quic-v1')
  assert.deepEqual(a.endpoints, { dstMultiaddr: PEER.Addr })
  assert.deepEqual(a.streams.streams.map(s => s.protocol), PEER.Streams.map(s => s.Protocol))
  assert.equal(new Set(a.streams.streams.map(s => s.id)).size, 3)
  assert.ok(a.streams.streams.every(s => `${s.userProvidedTags}` === 'role=unknown'), 'nobody knows who opened them')
  assert.deepEqual([a, b].map(c => c.userProvidedTags), [undefined, undefined])
  assert.equal(b.role, undefined)   // INITIATOR
  assert.equal(b.latencyNs, undefined)
  assert.equal(bytes(b.transportId), 'ip4+tcp')
  assert.deepEqual(state.traffic, {
    trafficIn: { cumBytes: '9007199254740993', instBw: '12' },
    trafficOut: { cumBytes: '5' }
  })
  assert.deepEqual(state.protocols.map(p => [p.protocol, p.streams, p.traffic.trafficIn.cumBytes]),
    [['/meshsub/1.3.0', 2, '100'], ['/a b&c/1', 1, '7']])
  assert.equal(state.subsystems.dht.protocol, '/ipfs/lan/kad/1.0.0')
  assert.deepEqual(state.subsystems.dht.buckets, [{}, {
    cpl: 1,
    peers: [{ peerId: '12D3KooWPeerA' }, { peerId: '12D3KooWGone', status: 'MISSING' }]
  }])
  assert.deepEqual(state.addresses, [
    { multiaddr: '/ip4/203.0.113.1/tcp/4001', reachability: 'PUBLIC' },
    { multiaddr: '/ip6/::1/tcp/4001', reachability: 'PRIVATE' },
    { multiaddr: '/ip4/10.0.0.1/tcp/4001' }
  ])
  const resource = (scope, name) => state.resources.find(r => r.scope === scope && r.name === name)
  assert.deepEqual(resource('system', 'conns'), { scope: 'system', name: 'conns', used: '2' })
  assert.deepEqual(resource('system', 'conns-inbound'), { scope: 'system', name: 'conns-inbound', used: '1', limit: '12052' })
  assert.deepEqual(resource('system', 'memory'), { scope: 'system', name: 'memory', used: '1310720', limit: '12638255104' })
  assert.equal(resource('system', 'open-files'), undefined)
  assert.deepEqual(resource('connection-manager', 'high-water'), { scope: 'connection-manager', name: 'high-water', used: '2', limit: '96' })
  assert.deepEqual(state.topics, [{ name: 'topic1', subscribers: 1 }])
  assert.ok(Math.abs(Number(state.instantTs) - Date.now()) < 60000)
  assert.equal(Number(a.timeline.openTs), Number(state.instantTs))
})

test('another program with this API has its own name', async t => {
  for (const [AgentVersion, name] of [['js-ipfs/0.18.1', 'js-ipfs'], ['rainbow', 'rainbow'], ['', 'kubo'], [undefined, 'kubo']]) {
    const n = await fakeNode(t, { ...KUBO, '/api/v0/id': { ID: '12D3KooWSelf', AgentVersion } })
    const { state, said } = await ask(t, 'kubo', n.url)
    assert.equal(said, '')
    assert.equal(state.runtime.implementation, name)
  }
})

test('transports are told from addresses', async t => {
  const wanted = {
    '/ip4/192.0.2.1/tcp/443/tls/sni/example.org/ws': 'ip4+tcp+tls+ws',
    '/ip6/2001:db8::1/udp/4001/quic-v1/webtransport/certhash/uEi': 'ip6+udp+quic-v1+webtransport',
    '/ip4/192.0.2.1/udp/4001/webrtc-direct/certhash/uEi': 'ip4+udp+webrtc-direct',
    '/ip4/192.0.2.1/tcp/4001/p2p/12D3KooWRelay/p2p-circuit': 'ip4+tcp+p2p-circuit',
    '/dns4/tcp/tcp/4001': 'dns4+tcp',
    '/ip4': 'ip4',
    '': '',
    nonsense: ''
  }
  const Peers = Object.keys(wanted).map(Addr => ({ ...PEER, Addr }))
  const n = await fakeNode(t, { ...KUBO, [PEERS]: { Peers } })
  const { state } = await ask(t, 'kubo', n.url)
  assert.deepEqual(state.subsystems.connections.map(c => bytes(c.transportId ?? '')), Object.values(wanted))
})

test('who opened a connection is not said where Kubo does not know', async t => {
  const Peers = [0, 1, 2, undefined].map(Direction => ({ ...PEER, Direction }))
  const n = await fakeNode(t, { ...KUBO, [PEERS]: { Peers } })
  const { state } = await ask(t, 'kubo', n.url)
  assert.deepEqual(state.subsystems.connections.map(c => c.userProvidedTags?.join()), ['role=unknown', undefined, undefined, 'role=unknown'])
})

test('durations of Go', async t => {
  const wanted = { '380µs': 380e3, '1m2.5s': 62.5e9, '1h': 3.6e12, '12ns': 12, 0: 0, '-1s': 0, '1e400s': 0, nan: 0, '1x': 0, '1ms2': 0 }
  const Peers = Object.keys(wanted).map(Latency => ({ ...PEER, Latency }))
  const n = await fakeNode(t, { ...KUBO, [PEERS]: { Peers } })
  const { state } = await ask(t, 'kubo', n.url)
  assert.deepEqual(state.subsystems.connections.map(c => Number(c.latencyNs ?? 0)), Object.values(wanted))
})

test('connections that differ in nothing have ids that differ', async t => {
  const n = await fakeNode(t, { ...KUBO, [PEERS]: { Peers: [PEER, PEER, PEER] } })
  const ids = async () => (await ask(t, 'kubo', n.url)).state.subsystems.connections.map(c => c.id)
  const first = await ids()
  assert.equal(new Set(first).size, 3)
  assert.deepEqual(await ids(), first)   // and the same in another bridge
})

test('an old or restricted Kubo: what it lacks is left out, without a word', async t => {
  const n = await fakeNode(t, { [PEERS]: KUBO[PEERS], '/api/v0/id': KUBO['/api/v0/id'], '/api/v0/version': KUBO['/api/v0/version'] })
  const { state, code, said } = await ask(t, 'kubo', n.url)
  assert.equal(said, '')
  assert.equal(code, 0)
  assert.equal(state.subsystems.connections.length, 2)
  assert.equal(state.subsystems.dht, undefined)
})

test('the token is shown, and what is said without it names the option', async t => {
  const n = await fakeNode(t, Object.fromEntries(Object.entries(KUBO).map(([path, answer]) => [path, (request, response) => {
    if (request.headers.authorization === 'Bearer 0123456789abcdef') response.end(text(answer))
    else response.writeHead(403).end('403 - Access Denied')
  }])))
  const file = join(folder(t), 'token')
  writeFileSync(file, '0123456789abcdef\n', { mode: 0o600 })
  const refused = await ask(t, 'kubo', n.url)
  assert.equal(refused.code, 1)
  assert.match(refused.said, /^introspect-bridge: http:\S+swarm\/peers\S+: HTTP status 403: .*--token-file/)
  const { state } = await ask(t, 'kubo', n.url, '--token-file', file)
  assert.equal(state.subsystems.connections.length, 2)
})
