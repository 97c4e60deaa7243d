import { multiaddr } from '@multiformats/multiaddr'
import { publish } from 'introspectd-publisher'
import { createNode } from '../example/node.mjs'
import { Daemon, socketPath } from './daemon.mjs'

export { multiaddr }

/** A node that is stopped after the test. */
export async function start (t, options) {
  const node = await createNode(options)
  t.after(() => node.stop())
  return node
}

/** A daemon to which the node is published. */
export async function watch (t, node) {
  const path = socketPath(t)
  const daemon = await Daemon.listen(t, path)
  const publisher = publish(node, { path })
  t.after(() => publisher.stop())
  await daemon.next('runtime')
  return daemon
}

/** Somebody who connects to a node in another process, at one of its addresses. */
export async function visitor (t, addresses) {
  const visitor = await start(t)
  const connection = await visitor.dial(addresses.filter(address => address.includes('/tcp/')).map(address => multiaddr(address)))
  return { peerId: visitor.peerId.toString(), connection, stop: () => visitor.stop() }
}
