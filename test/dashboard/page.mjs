// The dashboard's modules as make made them ready, and messages to feed them.
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { build, ServerMessage } from '../integration/daemon.mjs'

export const pageFolder = join(build, 'page')
export const load = name => import(pathToFileURL(join(pageFolder, name)))

// The same numbers in every run.
export function random (seed) {
  return below => {
    seed = Math.imul(seed, 1664525) + 1013904223 >>> 0
    return Math.floor(seed / 2 ** 32 * below)
  }
}

export function encode (message) {
  return new Uint8Array(ServerMessage.encode(ServerMessage.fromObject(message)).finish())
}

export const latin = bytes => Buffer.from(bytes).toString('latin1')

// A State in which every field of the schema that a snapshot can carry is set.
export function fullState (sequence = 7, connections = 3) {
  const gauge = n => ({ cumBytes: n * 1000, cumPackets: n * 10, instBw: n })
  const traffic = n => ({ trafficIn: gauge(n), trafficOut: gauge(n * 2) })
  return {
    version: { version: 1 },
    state: {
      sequence,
      instantTs: 1700000000000 + sequence * 1000,
      startTs: 1700000000000,
      snapshotDurationMs: 3,
      traffic: traffic(100),
      runtime: {
        implementation: 'js-libp2p',
        version: '3.1.0',
        platform: 'linux x64',
        peerId: '12D3KooWQ8wFnPdGyb1Zx9YxLwDHEq7JpMTS2TtRjMGkKwqo4Xrn',
        source: 'feed',
        hostname: 'lighthouse',
        intervalMs: 1000,
        eventTypes: [{
          name: 'PeerConnected',
          propertyTypes: [{ name: 'peerIds', type: 'PEERID', hasMultiple: true }, { name: 'at', type: 'TIME' }]
        }]
      },
      subsystems: {
        connections: Array.from({ length: connections }, (_, i) => ({
          id: Buffer.from([1, 200, i >> 8, i & 255]),
          peerId: `12D3KooWpeer${String(i).padStart(40, 'x')}`,
          status: i % 5,
          transportId: Buffer.from('ip4+tcp'),
          endpoints: { srcMultiaddr: '/ip4/10.0.0.1/tcp/4001', dstMultiaddr: `/ip4/10.0.${i >> 8}.${i & 255}/tcp/4001` },
          timeline: { openTs: 1699999990000, upgradedTs: 1699999990100, closeTs: i % 5 === 1 ? 1700000000000 : 0 },
          role: i % 2,
          traffic: traffic(i),
          attribs: { multiplexer: '/yamux/1.0.0', encryption: '/noise' },
          latencyNs: 12_500_000,
          streams: {
            streams: [{
              id: Buffer.from([i & 255]),
              protocol: i % 2 ? '/ipfs/ping/1.0.0' : '/ipfs/kad/1.0.0',
              role: 1,
              traffic: traffic(i),
              conn: { connId: Buffer.from([i & 255]) },
              timeline: { openTs: 1699999991000 },
              status: 0,
              latencyNs: 5
            }]
          },
          agentVersion: 'kubo/0.29.0',
          limited: i % 7 === 0,
          retransmittedBytes: 9,
          userProvidedTags: ['process=ipfs', 'pid=12', 'käse']
        })),
        dht: {
          protocol: '/ipfs/kad/1.0.0',
          enabled: true,
          startTs: 1699990000000,
          params: { k: 20, alpha: 3, disjointPaths: 10, beta: 4 },
          buckets: [{ cpl: 1, peers: [{ peerId: 'a', status: 'CANDIDATE', ageInBucket: 7 }, { peerId: 'b' }] }],
          incomingQueries: { success: 1, error: 2, timeout: 3 },
          outgoingQueries: { success: 4, error: 5, timeout: 6 }
        }
      },
      addresses: [{ multiaddr: '/ip4/10.0.0.1/tcp/4001', reachability: 'PRIVATE' }],
      protocols: [{ protocol: '/ipfs/ping/1.0.0', traffic: traffic(5), streams: 2 }],
      topics: [{ name: 'news', subscribers: 4, meshPeerIds: ['a', 'b'] }],
      resources: [{ scope: 'system', name: 'memory', used: 900, limit: 1000 }]
    }
  }
}
