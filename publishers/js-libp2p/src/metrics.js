import { ipPortToMultiaddr } from '@libp2p/utils'

// Names of protocols are the node's own, but it may make them up as it goes.
const MAX_PROTOCOLS = 1024

/** The `encryption` of a connection whose transport encrypts and multiplexes by itself. */
export const NATIVE = 'native'

/** Bytes received and sent since counting began. */
class Counter {
  in = 0
  out = 0
}

/** @typedef {import('@multiformats/multiaddr').Multiaddr} Multiaddr */

/** What the nodes of this process have moved, each under the metrics it was made with. */
const traffic = new WeakMap()

/**
 * The bytes that a node moved.
 *
 * @param {import('@libp2p/interface').Libp2p} node
 * @returns {Traffic | undefined} undefined: the node runs without `introspectionMetrics`
 */
export function trafficOf (node) {
  return traffic.get(node.metrics)
}

class Traffic {
  total = new Counter()
  /** @type {Map<string, Counter>} */
  protocols = new Map()
  #connections = new WeakMap()
  #streams = new WeakMap()
  /** Open connections of transports that encrypt and multiplex by themselves, such as QUIC. */
  #native = new Set()

  /** @returns {{ counter: Counter, localAddr?: Multiaddr, remoteAddr?: Multiaddr } | undefined} */
  connection (connection) {
    // A connection does not tell what it was upgraded from, but shares its timeline.
    return this.#connections.get(connection.timeline)
  }

  /** @returns {Counter | undefined} */
  stream (stream) {
    return this.#streams.get(stream)
  }

  connectionOpened (connection) {
    if (connection.encryption === NATIVE) {
      this.#native.add(connection)
    }
  }

  connectionClosed (connection) {
    this.#native.delete(connection)
  }

  trackMultiaddrConnection (maConn) {
    const counter = new Counter()
    this.#connections.set(maConn.timeline, { counter, ...ends(maConn) })
    count(maConn, this.total, counter)
  }

  trackProtocolStream (stream) {
    const counter = new Counter()
    this.#streams.set(stream, counter)
    count(stream, this.#protocol(stream.protocol), counter, ...this.#carrier(stream))
  }

  /** Nothing passes a native connection but by its streams, so their bytes are also its own. */
  #carrier (stream) {
    for (const connection of this.#native) {
      if (connection.streams.includes(stream)) {
        return [this.connection(connection).counter, this.total]
      }
    }
    return []
  }

  #protocol (name) {
    let counter = this.protocols.get(name)
    if (counter == null) {
      counter = new Counter()
      if (this.protocols.size < MAX_PROTOCOLS) {
        this.protocols.set(name, counter)
      }
    }
    return counter
  }
}

/**
 * Both ends as the socket knows them, the other one only where the node dialed a name. Of the
 * transports, only TCP lets its socket be seen.
 */
function ends ({ socket, remoteAddr }) {
  return {
    localAddr: end(socket?.localAddress, socket?.localPort),
    remoteAddr: `${remoteAddr}`.startsWith('/dns') ? end(socket?.remoteAddress, socket?.remotePort) : undefined
  }
}

function end (address, port) {
  if (address != null && port != null) {
    return ipPortToMultiaddr(address.split('%')[0], port) // an ip6 component has no zone
  }
}

/**
 * Counts at the calls that every message passes anyway: one more listener for
 * 'message' would start the flow of data before its reader is there. What a
 * reader gives back with unshift comes by a second time.
 */
function count (stream, ...counters) {
  const { dispatchEvent, send, unshift } = stream

  const add = (direction, bytes) => {
    for (const counter of counters) {
      counter[direction] += bytes
    }
  }

  stream.dispatchEvent = (event) => {
    if (event.type === 'message') {
      add('in', event.data.byteLength)
    }
    return dispatchEvent.call(stream, event)
  }

  stream.unshift = (data) => {
    const bytes = data.byteLength
    unshift.call(stream, data)
    add('in', -bytes)
  }

  stream.send = (data) => {
    const bytes = data.byteLength
    const canSendMore = send.call(stream, data)
    add('out', bytes)
    return canSendMore
  }
}

const ignore = () => {}
const noMetric = {
  update: ignore,
  increment: ignore,
  decrement: ignore,
  observe: ignore,
  reset: ignore,
  timer: () => ignore
}

/** What the node's components register when there is no delegate: kept nowhere. */
class NoMetrics {
  trackMultiaddrConnection () {}
  trackProtocolStream () {}
  registerMetric () { return noMetric }
  registerMetricGroup () { return noMetric }
  registerCounter () { return noMetric }
  registerCounterGroup () { return noMetric }
  registerHistogram () { return noMetric }
  registerHistogramGroup () { return noMetric }
  registerSummary () { return noMetric }
  registerSummaryGroup () { return noMetric }
  traceFunction (name, fn) { return fn }
  createTrace () {}
}

/**
 * The `metrics` option of a libp2p node that is to publish bytes per connection,
 * stream and protocol. `node.metrics` is then what the delegate made, and works
 * as it would alone.
 *
 * @param {object} [init]
 * @param {(components: any) => import('@libp2p/interface').Metrics} [init.delegate] -
 *   other metrics that the node is to keep, e.g. `prometheusMetrics()`
 * @returns {(components: any) => import('@libp2p/interface').Metrics}
 */
export function introspectionMetrics ({ delegate } = {}) {
  return (components) => {
    const metrics = delegate?.(components) ?? new NoMetrics()
    const counted = new Traffic()

    for (const method of ['trackMultiaddrConnection', 'trackProtocolStream']) {
      const original = metrics[method]

      metrics[method] = (stream) => {
        original.call(metrics, stream)
        counted[method](stream)
      }
    }

    components.events.addEventListener('connection:open', ({ detail }) => counted.connectionOpened(detail))
    components.events.addEventListener('connection:close', ({ detail }) => counted.connectionClosed(detail))
    traffic.set(metrics, counted)
    return metrics
  }
}
