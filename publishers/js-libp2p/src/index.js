import { EVENT_NAMES, EVENT_TYPES, makeEvent } from './events.js'
import { Feed } from './feed.js'
import { encode } from './schema.js'
import { StateMaker } from './state.js'

export { introspectionMetrics } from './metrics.js'

/**
 * Publishes what the node knows to the daemon that listens at `path`, now or
 * later: a State each time the daemon asks, and events as they happen.
 *
 * Nothing here throws into the node or keeps its process alive. What goes wrong
 * is said under the log name `introspectd:publisher`.
 *
 * @param {import('@libp2p/interface').Libp2p<any>} node - started or not
 * @param {object} options
 * @param {string} options.path - of the Unix socket given to `introspectd --feed`
 * @returns {{ stop: () => void }} `stop` ends the connection and leaves the node as it was
 */
export function publish (node, { path } = {}) {
  if (typeof path !== 'string' || path === '') {
    throw new TypeError(`path must name the daemon's feed socket, got ${path}`)
  }

  const log = node.logger.forComponent('introspectd:publisher')
  const states = new StateMaker(node)
  const announced = new Set()

  const feed = new Feed({
    path,
    log,
    hello () {
      announced.clear()
      states.forget()
      return encode({ runtime: runtime(node) })
    },
    state: () => encode({ state: states.make() })
  })

  const note = {
    'connection:open': (connection) => states.opened(connection),
    'connection:close': (connection) => feed.connected && states.closed(connection),
    'peer:identify': (result) => states.identified(result)
  }

  const listeners = EVENT_NAMES.map(name => [name, ({ detail }) => {
    try {
      note[name]?.(detail)
      feed.offer(() => {
        const event = makeEvent(name, detail, !announced.has(name))
        announced.add(name)
        return encode({ event })
      })
    } catch (err) {
      log.error('%s: %e', name, err)
    }
  }])

  for (const [name, listener] of listeners) {
    node.addEventListener(name, listener)
  }

  return {
    stop () {
      for (const [name, listener] of listeners) {
        node.removeEventListener(name, listener)
      }
      feed.stop()
    }
  }
}

/** A Runtime. */
function runtime (node) {
  const { name, version } = node.components?.nodeInfo ?? { name: 'js-libp2p' }

  return {
    implementation: name,
    version,
    platform: `${process.platform}/${process.arch} ${process.release.name}/${process.versions.node}`,
    peer_id: node.peerId.toString(),
    event_types: EVENT_TYPES
  }
}
