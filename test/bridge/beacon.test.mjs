// What the Beacon API answers becomes a State. The shapes are those of its specification and, for
// Lighthouse and Nimbus, of their documentation and source; these programs themselves are not run.
import assert from 'node:assert/strict'
import test from 'node:test'
import { ask, fakeNode, replaced, text } from './fake.mjs'

const peer = (id, more) => ({ peer_id: id, enr: null, last_seen_p2p_address: '/ip4/192.0.2.1/tcp/9000', state: 'connected', direction: 'inbound', ...more })

const BEACON = {
  '/eth/v1/node/peers': {
    data: [
      peer('16UiuA'), peer('16UiuB', { direction: 'outbound', last_seen_p2p_address: '/ip4/192.0.2.2/udp/9001/quic-v1' }),
      peer('16UiuC', { state: 'disconnected' }), peer('16UiuD', { state: 'disconnecting' }), peer('16UiuE', { state: 'connecting' })
    ],
    meta: { count: 5 }
  },
  '/eth/v1/node/version': { data: { version: 'Lighthouse/v5.3.0-d6ba8c3/x86_64-linux' } },
  '/eth/v1/node/identity': { data: { peer_id: '16UiuSelf', p2p_addresses: ['/ip4/198.51.100.1/tcp/9000'], metadata: { seq_number: '1' } } },
  '/eth/v1/node/syncing': { data: { head_slot: '1', sync_distance: '18446744073709551615', is_syncing: false } }
}

const told = async (t, more) => {
  const n = await fakeNode(t, { ...BEACON, ...more }, { method: 'GET' })
  return { n, ...await ask(t, 'beacon', n.url) }
}

test('the standard: peers that are connected, identity, distance', async t => {
  const { state, said, code } = await told(t)
  assert.equal(said, '')
  assert.equal(code, 0)
  assert.deepEqual(state.runtime, { implementation: 'Lighthouse', version: 'v5.3.0-d6ba8c3', platform: 'x86_64-linux', peerId: '16UiuSelf' })
  assert.deepEqual(state.subsystems.connections.map(c => [c.peerId, c.role, c.status, Buffer.from(c.transportId, 'base64').toString()]), [
    ['16UiuA', 'RESPONDER', undefined, 'ip4+tcp'], ['16UiuB', undefined, undefined, 'ip4+udp+quic-v1'],
    ['16UiuD', 'RESPONDER', 'CLOSING', 'ip4+tcp'], ['16UiuE', 'RESPONDER', 'OPENING', 'ip4+tcp']
  ])
  assert.deepEqual(state.addresses, [{ multiaddr: '/ip4/198.51.100.1/tcp/9000' }])
  assert.equal(state.resources.find(r => r.name === 'sync-distance').used, '18446744073709551615')
})

const LIGHTHOUSE = {
  '/lighthouse/peers': [
    { peer_id: '16UiuA', peer_info: { score: { Real: { lighthouse_score: -0.25 } }, client: { kind: 'Prysm', agent_string: 'Prysm/v3.1.1' }, subnets: ['x', 'y'] } },
    { peer_id: '16UiuZ', peer_info: { score: 'Max' } }
  ]
}

test('Lighthouse: agents, scores and subnets', async t => {
  const { state, said } = await told(t, LIGHTHOUSE)
  assert.equal(said, '')
  assert.equal(state.subsystems.connections[0].agentVersion, 'Prysm/v3.1.1')
  assert.deepEqual(state.subsystems.connections[0].userProvidedTags, ['score=-0.250', 'subnets=2'])
})

const LODESTAR = {
  '/eth/v1/node/version': { data: { version: 'Lodestar/v1.36.0/unstable/2115aa7' } },
  '/eth/v1/lodestar/peers': { data: [peer('16UiuA', { agent_version: 'Teku/v1', connected_unix_ts_ms: 1700000000123 }), peer('16UiuB', { agent_version: 'NA' })], meta: { count: 2 } },
  '/eth/v1/lodestar/lodestar-peer-score-stats': { data: [{ peer_id: '16UiuA', score: -1.5 }, { peer_id: '16UiuZ' }] }
}

test('Lodestar: agents, scores, and of later versions the time of opening', async t => {
  const { state: { runtime, subsystems: { connections: [a, b] } }, said } = await told(t, LODESTAR)
  assert.equal(said, '')
  assert.deepEqual(runtime, { implementation: 'Lodestar', version: 'v1.36.0', peerId: '16UiuSelf' })
  assert.deepEqual([a.agentVersion, a.userProvidedTags, a.timeline.openTs], ['Teku/v1', ['score=-1.500'], '1700000000123'])
  assert.deepEqual([b.agentVersion, b.userProvidedTags], [undefined, undefined])
})

const NIMBUS = {
  '/eth/v1/node/version': { data: { version: 'Nimbus/v24.5.1-d2a077-stateofus' } },
  '/nimbus/v1/network/peers': { peers: [{ info: { peerId: '16UiuB', addrs: [], protocols: [], protoVersion: '', agentVersion: 'nimbus' }, connectionState: 'Connected', score: 300 }] },
  '/nimbus/v1/debug/gossip/peers': {
    gossip_peers: [{ topic: '/eth2/x/beacon_block/ssz_snappy', peers: [{ peerId: '16UiuA' }, { peerId: '16UiuB' }] }],
    mesh_peers: [{ topic: '/eth2/x/beacon_block/ssz_snappy', peers: [{ peerId: '16UiuB' }] }]
  }
}

test('Nimbus: agents, scores, topics and meshes', async t => {
  const { state, said } = await told(t, NIMBUS)
  assert.equal(said, '')
  assert.equal(state.subsystems.connections[1].agentVersion, 'nimbus')
  assert.deepEqual(state.subsystems.connections[1].userProvidedTags, ['score=300'])
  assert.deepEqual(state.topics, [{ name: '/eth2/x/beacon_block/ssz_snappy', subscribers: 2, meshPeerIds: ['16UiuB'] }])
})

test('wrong types in every field are named, and the rest is told', async t => {
  const n = await fakeNode(t, BEACON, { method: 'GET' })
  const unread = new Set(['enr', 'meta', 'count', 'metadata', 'seq_number', 'head_slot', 'is_syncing', 'kind', 'Real', 'addrs', 'protocols', 'protoVersion', 'connectionState'])
  const taken = {   // of more than one answer that has it, or counted only
    '/lighthouse/peers': (key, wrong) => key !== 'score' && !(key === 'subnets' && Array.isArray(wrong[0].peer_info.subnets)),
    '/eth/v1/lodestar/peers': key => !['state', 'direction', 'last_seen_p2p_address'].includes(key),
    '/nimbus/v1/debug/gossip/peers': (key, wrong) => !Array.isArray(wrong.gossip_peers?.[0]?.peers) || wrong.gossip_peers[0].peers === NIMBUS['/nimbus/v1/debug/gossip/peers'].gossip_peers[0].peers
  }
  for (const more of [LIGHTHOUSE, LODESTAR, NIMBUS]) {
    for (const [path, answer] of Object.entries(more === LIGHTHOUSE ? { ...BEACON, ...more } : more)) {
      for (const other of [{ x: 1 }, [], true]) {
        for (const [wrong, key] of replaced(answer, other)) {
          if (unread.has(key) || taken[path]?.(key, wrong) === false) continue
          n.answers = { ...BEACON, ...more, [path]: wrong }
          const { state, lines, code, signal } = await ask(t, 'beacon', n.url)
          assert.deepEqual([code, signal, lines.length], [1, null, 1], `${path} ${key} ${JSON.stringify(wrong)}: ${lines}`)
          assert.ok(lines[0].startsWith(`introspect-bridge: ${n.url}${path}: `), lines[0])
          assert.ok(state)
        }
      }
    }
  }
})

test('100,000 peers of a Lighthouse', async t => {
  const ids = Array.from({ length: 100000 }, (_, i) => `16Uiu${i}`)
  const { state, said } = await told(t, {
    '/eth/v1/node/peers': text({ data: ids.map(id => peer(id)) }),
    '/lighthouse/peers': text(ids.map(id => ({ peer_id: id, peer_info: { client: { agent_string: 'Teku' }, subnets: [] } })))
  })
  assert.equal(said, '')
  assert.ok(state.subsystems.connections.length === 100000 && state.subsystems.connections.every(c => c.agentVersion === 'Teku'))
})
