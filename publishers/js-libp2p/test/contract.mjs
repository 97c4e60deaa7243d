// What publishers/contract runs of this publisher; see publishers/contract/publishers.mjs.
import { createInterface } from 'node:readline'
import { parseArgs } from 'node:util'
import { gossipsub } from '@libp2p/gossipsub'
import { identify } from '@libp2p/identify'
import { kadDHT, passthroughMapper } from '@libp2p/kad-dht'
import { noise } from '@libp2p/noise'
import { ping } from '@libp2p/ping'
import { tcp } from '@libp2p/tcp'
import { yamux } from '@libp2p/yamux'
import { multiaddr } from '@multiformats/multiaddr'
import { introspectionMetrics, publish } from 'introspectd-publisher'
import { createLibp2p } from 'libp2p'

const { values: { feed, peers, swarm } } = parseArgs({
  options: { feed: { type: 'string' }, peers: { type: 'string' }, swarm: { type: 'boolean' } }
})

// A thousand others come from one address.
const LIMIT = 100_000
// ms for what the libraries give up within seconds, which a busy machine may take
const PATIENCE = 60_000
const NEVER = 2 ** 31 - 1 // ms, the longest that a timer can wait
const ECHO = '/echo/1.0.0'

const create = (options) => createLibp2p({
  transports: [tcp({ backlog: 1024 })],
  connectionEncrypters: [noise()],
  streamMuxers: [yamux()],
  connectionMonitor: { enabled: false },
  connectionManager: {
    maxConnections: LIMIT,
    inboundConnectionThreshold: LIMIT,
    maxIncomingPendingConnections: LIMIT,
    dialTimeout: PATIENCE,
    addressDialTimeout: PATIENCE,
    inboundUpgradeTimeout: PATIENCE,
    inboundStreamProtocolNegotiationTimeout: PATIENCE,
    outboundStreamProtocolNegotiationTimeout: PATIENCE
  },
  ...options
})

/** What a member of a swarm has besides; QUIC only where npm has its native library. */
async function member () {
  const { quic } = await import('@chainsafe/libp2p-quic').catch(() => ({}))
  return {
    addresses: { listen: ['/ip4/127.0.0.1/tcp/0', ...quic ? ['/ip4/127.0.0.1/udp/0/quic-v1'] : []] },
    transports: [tcp(), ...quic ? [quic({ handshakeTimeout: PATIENCE, maxIdleTimeout: 30_000 })] : []],
    services: {
      identify: identify({ timeout: PATIENCE }),
      ping: ping({ timeout: PATIENCE }),
      dht: kadDHT({
        protocol: '/introspectd/kad/1.0.0',
        clientMode: false,
        peerInfoMapper: passthroughMapper, // on loopback, private addresses are all there is
        initialQuerySelfInterval: NEVER,
        pingNewContactTimeout: { minTimeout: PATIENCE }
      }),
      pubsub: gossipsub()
    }
  }
}

/** Sends so many bytes to the peer and waits until they are back; the stream stays open. */
async function echo (peer, bytes) {
  const stream = await node.getConnections().find(({ remotePeer }) => remotePeer.toString() === peer).newStream(ECHO)
  const { promise, resolve } = Promise.withResolvers()
  let missing = bytes
  stream.addEventListener('message', ({ data }) => {
    missing -= data.byteLength
    if (missing <= 0) {
      resolve()
    }
  })
  for (let left = bytes; left > 0; left -= 65536) {
    if (!stream.send(new Uint8Array(Math.min(left, 65536)))) {
      await stream.onDrain()
    }
  }
  await promise
}

const node = await create({
  addresses: { listen: ['/ip4/127.0.0.1/tcp/0'] },
  metrics: introspectionMetrics(),
  services: { identify: identify({ timeout: PATIENCE }) },
  ...swarm ? await member() : {}
})

await node.handle(ECHO, async stream => {
  for await (const data of stream) {
    if (!stream.send(data)) {
      await stream.onDrain()
    }
  }
  await stream.close()
})
node.services.pubsub?.subscribe('weather')

publish(node, { path: feed })
console.log(`publishing ${node.peerId}`)
for (const address of node.getMultiaddrs()) {
  console.log(`listening ${address}`)
}
for (let i = 0; i < Number(peers ?? 0); i++) {
  const peer = await create()
  await peer.dial(node.getMultiaddrs())
  console.log(`connected ${peer.peerId}`)
}
console.log('ready')

for await (const line of createInterface({ input: process.stdin })) {
  const [command, peer, bytes] = line.split(' ')
  if (command === 'dial') {
    await node.dial(multiaddr(peer))
  } else {
    await echo(peer, Number(bytes))
  }
  console.log(`done ${line}`)
}
process.exit()
