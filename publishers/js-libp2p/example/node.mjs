import { gossipsub } from '@libp2p/gossipsub'
import { identify } from '@libp2p/identify'
import { kadDHT, passthroughMapper } from '@libp2p/kad-dht'
import { noise } from '@libp2p/noise'
import { ping } from '@libp2p/ping'
import { tcp } from '@libp2p/tcp'
import { yamux } from '@libp2p/yamux'
import { introspectionMetrics } from 'introspectd-publisher'
import { createLibp2p } from 'libp2p'

export const ECHO = '/echo/1.0.0'

/**
 * A node on loopback that answers ECHO and runs what most nodes run.
 *
 * @param {import('libp2p').Libp2pInit} [options] - put over the defaults
 */
export async function createNode (options) {
  const node = await createLibp2p({
    addresses: { listen: ['/ip4/127.0.0.1/tcp/0'] },
    transports: [tcp()],
    connectionEncrypters: [noise()],
    streamMuxers: [yamux()],
    connectionMonitor: { pingInterval: 1_000, abortConnectionOnPingFailure: false },
    metrics: introspectionMetrics(),
    services: {
      identify: identify(),
      ping: ping({ maxInboundStreams: 8, maxOutboundStreams: 8 }), // the monitor and the DHT ping as well
      // on loopback, private addresses are all there is
      dht: kadDHT({ clientMode: false, peerInfoMapper: passthroughMapper }),
      pubsub: gossipsub()
    },
    ...options
  })

  await node.handle(ECHO, (stream) => {
    stream.addEventListener('message', ({ data }) => { stream.send(data) })
    stream.addEventListener('remoteCloseWrite', () => { stream.close().catch(err => stream.abort(err)) })
  })

  return node
}
