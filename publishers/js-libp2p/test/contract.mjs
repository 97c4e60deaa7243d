// What publishers/contract runs of this publisher; see publishers/README.md.
import { parseArgs } from 'node:util'
import { noise } from '@libp2p/noise'
import { identify } from '@libp2p/identify'
import { tcp } from '@libp2p/tcp'
import { yamux } from '@libp2p/yamux'
import { introspectionMetrics, publish } from 'introspectd-publisher'
import { createLibp2p } from 'libp2p'

const { values: { feed, peers } } = parseArgs({ options: { feed: { type: 'string' }, peers: { type: 'string' } } })

// A thousand others come from one address.
const LIMIT = 100_000

const create = (options) => createLibp2p({
  transports: [tcp({ backlog: 1024 })],
  connectionEncrypters: [noise()],
  streamMuxers: [yamux()],
  connectionMonitor: { enabled: false },
  connectionManager: { maxConnections: LIMIT, inboundConnectionThreshold: LIMIT, maxIncomingPendingConnections: LIMIT },
  ...options
})

const node = await create({
  addresses: { listen: ['/ip4/127.0.0.1/tcp/0'] },
  metrics: introspectionMetrics(),
  services: { identify: identify() }
})

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
process.stdin.on('end', () => process.exit()).resume()
