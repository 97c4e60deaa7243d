// A libp2p node that speaks QUIC and sends back what it gets. Arguments: the addresses at which it
// listens; prints them. A line of its input, "ADDRESS BYTES", makes it send so many to the node
// there, and print how many came back. FEED: the socket of a daemon, to which it publishes.
import { createInterface } from 'node:readline'
import { quic } from '@chainsafe/libp2p-quic'
import { multiaddr } from '@multiformats/multiaddr'
import { createLibp2p } from 'libp2p'
import { publish } from '../../publishers/js-libp2p/src/index.js'

const PROTOCOL = '/bytes/1'
const CHUNK = new Uint8Array(16384)
const node = await createLibp2p({
  addresses: { listen: process.argv.slice(2) },
  transports: [quic()],
  connectionMonitor: { enabled: false }
})
await node.handle(PROTOCOL, ({ stream }) => { stream.sink(stream.source).catch(() => {}) })
if (process.env.FEED) publish(node, { path: process.env.FEED })
console.log(node.getMultiaddrs().map(String).join(' '))

async function exchange (address, bytes) {
  const stream = await node.dialProtocol(multiaddr(address), PROTOCOL)
  let received = 0
  stream.sink((function * () { for (let sent = 0; sent < bytes; sent += CHUNK.length) yield CHUNK })()).catch(() => {})
  for await (const chunk of stream.source) {
    received += chunk.byteLength
    if (received >= bytes) break
  }
  return received
}

createInterface({ input: process.stdin }).on('line', async line => {
  const [address, bytes] = line.split(' ')
  console.log(await exchange(address, Number(bytes)).catch(error => `${error}`))
}).on('close', () => process.exit())
