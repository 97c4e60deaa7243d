// Three libp2p nodes on loopback that talk to each other; the first publishes
// what it knows to introspectd:
//
//   introspectd --feed /tmp/node.sock
//   node example.mjs --feed /tmp/node.sock

import { setInterval } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { publish } from 'introspectd-publisher'
import { createNode, ECHO } from './node.mjs'

const TOPIC = 'weather'

const { values: { feed } } = parseArgs({ options: { feed: { type: 'string' } } })

if (feed == null) {
  console.error('usage: node example.mjs --feed PATH')
  process.exit(2)
}

const [published, ...others] = await Promise.all([createNode(), createNode(), createNode()])
publish(published, { path: feed })

console.log(`publishing ${published.peerId} to ${feed}`)

published.services.pubsub.subscribe(TOPIC)

for (const node of others) {
  node.services.pubsub.subscribe(TOPIC)
  await node.dial(published.getMultiaddrs())
  console.log(`connected ${node.peerId}`)
}

const echo = await published.dialProtocol(others[0].peerId, ECHO)
echo.addEventListener('message', () => {}) // what comes back has to be read

for await (const _ of setInterval(500)) {
  echo.send(new Uint8Array(1024))

  // Until the nodes know each other's subscriptions there is nobody to publish to.
  await others[1].services.pubsub.publish(TOPIC, new TextEncoder().encode('sunny')).catch(() => {})
}
