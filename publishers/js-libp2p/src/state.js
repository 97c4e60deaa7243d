import { isPrivate } from '@libp2p/utils'
import { NATIVE, trafficOf } from './metrics.js'
import { PeerStatus, Reachability, Role, Status } from './schema.js'

// Closed connections kept for the next state; when more close, the oldest go.
const MAX_CLOSED = 1024

const STATUS = {
  open: Status.ACTIVE,
  closing: Status.CLOSING,
  closed: Status.CLOSED,
  aborted: Status.CLOSED,
  reset: Status.CLOSED
}

const ROLE = {
  inbound: Role.RESPONDER,
  outbound: Role.INITIATOR
}

// Components of a multiaddr that say who or where, not by which transport.
const NOT_TRANSPORT = new Set(['p2p', 'certhash', 'sni', 'http-path'])

// Of a node without `introspectionMetrics` and of streams that are still being negotiated:
// the observer toolkit's UI ends where there is no Traffic.
const UNKNOWN = { traffic_in: {}, traffic_out: {} }

/** Makes the State messages of one node. Costs nothing between two of them but to note events. */
export class StateMaker {
  #node
  #traffic
  #agents = new WeakMap()
  #upgraded = new WeakMap()
  #closed = []
  #gauged = new WeakMap()
  #previous = { ts: Date.now(), clock: undefined }

  /** @param {import('@libp2p/interface').Libp2p} node */
  constructor (node) {
    this.#node = node
    this.#traffic = trafficOf(node)

    for (const connection of node.getConnections()) {
      this.#recallAgent(connection)
    }
  }

  opened (connection) {
    this.#upgraded.set(connection, Date.now())
  }

  /** Shows the connection once more, in the next state. */
  closed (connection) {
    this.#closed.push(this.#connection(connection, this.#node.getConnections(), 0))
    if (this.#closed.length > MAX_CLOSED) {
      this.#closed.shift()
    }
  }

  identified ({ peerId, agentVersion }) {
    for (const connection of this.#node.getConnections(peerId)) {
      this.#agents.set(connection, agentVersion)
    }
  }

  /** Lets go of what was kept for the next state. */
  forget () {
    this.#closed = []
  }

  /** @returns {object} a State; what closed and what moved is told from the previous one on */
  make () {
    const node = this.#node
    const clock = performance.now()
    const ts = Date.now()
    // No time since: nothing to measure a rate with.
    const seconds = (clock - (this.#previous.clock ?? clock)) / 1000
    const connections = node.getConnections()

    const state = {
      subsystems: {
        connections: connections.map(connection => this.#connection(connection, connections, seconds)).concat(this.#closed),
        dht: dht(node)
      },
      traffic: this.#gauges(this.#traffic?.total, seconds),
      instant_ts: ts,
      start_ts: this.#previous.ts,
      addresses: addresses(node),
      protocols: this.#protocols(connections, seconds),
      topics: topics(node),
      resources: resources(node)
    }

    this.#closed = []
    this.#previous = { ts, clock }
    state.snapshot_duration_ms = unsigned(performance.now() - clock)
    return state
  }

  #connection (connection, open, seconds) {
    const { id, direction, encryption, limits, multiplexer, remoteAddr, remotePeer, rtt, timeline } = connection
    const tracked = this.#traffic?.connection(connection)
    const remote = tracked?.remoteAddr ?? remoteAddr

    return {
      id: Buffer.from(id),
      peer_id: remotePeer.toString(),
      status: STATUS[connection.status],
      transport_id: Buffer.from(transport(remote)),
      endpoints: { src_multiaddr: tracked?.localAddr?.toString(), dst_multiaddr: remote.toString() },
      timeline: {
        open_ts: timeline.open,
        upgraded_ts: timeline.upgraded ?? this.#upgraded.get(connection),
        close_ts: timeline.close
      },
      role: ROLE[direction],
      traffic: this.#gauges(tracked?.counter, seconds) ?? UNKNOWN,
      attribs: { multiplexer, encryption: encryption === NATIVE ? multiplexer : encryption },
      latency_ns: rtt == null ? undefined : unsigned(rtt * 1e6),
      streams: { streams: connection.streams.map(stream => this.#stream(stream, id, seconds)) },
      conn_id: relayConnection(remoteAddr, open),
      // The peer chose it, and the wire takes only what is UTF-8.
      agent_version: this.#agents.get(connection)?.toWellFormed(),
      limited: limits != null
    }
  }

  #stream (stream, connectionId, seconds) {
    return {
      id: Buffer.from(`${connectionId}/${stream.id}`), // its own is not unique across connections
      protocol: stream.protocol,
      role: ROLE[stream.direction],
      traffic: this.#gauges(this.#traffic?.stream(stream), seconds) ?? UNKNOWN,
      timeline: { open_ts: stream.timeline.open, close_ts: stream.timeline.close },
      status: STATUS[stream.status]
    }
  }

  #protocols (connections, seconds) {
    const open = Map.groupBy(connections.flatMap(connection => connection.streams), stream => stream.protocol)
    const names = new Set([...this.#traffic?.protocols.keys() ?? [], ...open.keys()])
    names.delete('') // still being negotiated

    return Array.from(names, protocol => ({
      protocol,
      traffic: this.#gauges(this.#traffic?.protocols.get(protocol), seconds),
      streams: open.get(protocol)?.length
    }))
  }

  #gauges (counter, seconds) {
    if (counter == null) {
      return
    }

    const previous = this.#gauged.get(counter) ?? { in: 0, out: 0 }
    this.#gauged.set(counter, { in: counter.in, out: counter.out })

    const gauge = (direction) => ({
      cum_bytes: unsigned(counter[direction]),
      inst_bw: seconds > 0 ? unsigned((counter[direction] - previous[direction]) / seconds) : 0
    })

    return { traffic_in: gauge('in'), traffic_out: gauge('out') }
  }

  /** For a peer that was identified before we came. */
  async #recallAgent (connection) {
    try {
      const { metadata } = await this.#node.peerStore.get(connection.remotePeer)
      const agent = metadata.get('AgentVersion')

      if (agent != null && !this.#agents.has(connection)) {
        this.#agents.set(connection, new TextDecoder().decode(agent))
      }
    } catch {
      // the peer store does not know it: identify will tell
    }
  }
}

/** What can be a little below zero: a clock was set back, or a reader gave back more than it got. */
function unsigned (value) {
  return Math.max(0, Math.round(value))
}

/** For example ip4+tcp, ip4+udp+quic-v1 or ip4+tcp+p2p-circuit. */
function transport (multiaddr) {
  return multiaddr.getComponents()
    .map(component => component.name)
    .filter(name => !NOT_TRANSPORT.has(name))
    .join('+')
}

/** The id of the connection to the relay, when the address leads over one. */
function relayConnection (multiaddr, open) {
  const components = multiaddr.getComponents()
  const circuit = components.findIndex(component => component.name === 'p2p-circuit')

  if (circuit === -1) {
    return
  }

  const relay = components.slice(0, circuit).findLast(component => component.name === 'p2p')?.value
  const connection = open.find(connection => connection.direct && connection.remotePeer.toString() === relay)
  return connection && Buffer.from(connection.id)
}

/** Of a node with more than one DHT, the first. */
function dht (node) {
  const dht = Object.values(node.services).find(service => service[Symbol.toStringTag] === '@libp2p/kad-dht')

  if (dht == null) {
    return
  }

  return {
    protocol: dht.protocol,
    enabled: dht.isStarted(),
    params: { k: dht.k, alpha: dht.a, disjoint_paths: dht.d },
    buckets: buckets(node, dht.routingTable?.kb)
  }
}

/** The table is a trie by the keys' own prefixes; the schema wants the peers by the prefix shared with ours. */
function buckets (node, table) {
  if (table?.localPeer == null) {
    return []
  }

  const peers = Map.groupBy(table.toIterable(), peer => commonPrefixLength(table.localPeer.kadId, peer.kadId))

  return Array.from(peers, ([cpl, peers]) => ({
    cpl,
    peers: peers.map(({ peerId, lastPing }) => ({
      peer_id: peerId.toString(),
      status: node.getConnections(peerId).length > 0 ? PeerStatus.ACTIVE : PeerStatus.MISSING,
      age_in_bucket: unsigned(Date.now() - lastPing) // a peer is added when it has answered its ping
    }))
  })).sort((a, b) => a.cpl - b.cpl)
}

function commonPrefixLength (a, b) {
  const differs = a.findIndex((byte, index) => byte !== b[index])
  return differs === -1 ? a.length * 8 : differs * 8 + Math.clz32(a[differs] ^ b[differs]) - 24
}

function addresses (node) {
  const known = node.components?.addressManager?.getAddressesWithMetadata() ??
    node.getMultiaddrs().map(multiaddr => ({ multiaddr, verified: true }))

  return known.map(({ multiaddr, verified }) => ({
    multiaddr: multiaddr.toString(),
    reachability: reachability(multiaddr, verified)
  }))
}

/** libp2p counts private addresses as verified, since it need not ask anyone about them. */
function reachability (multiaddr, verified) {
  if (isPrivate(multiaddr)) {
    return Reachability.PRIVATE
  }
  return verified ? Reachability.PUBLIC : Reachability.UNKNOWN
}

function topics (node) {
  const pubsub = Object.values(node.services).find(service => typeof service.getSubscribers === 'function')

  if (pubsub?.isStarted() !== true) {
    return
  }

  return pubsub.getTopics().map(name => ({
    name,
    subscribers: pubsub.getSubscribers(name).length,
    mesh_peer_ids: pubsub.getMeshPeers?.(name).map(String)
  }))
}

function resources (node) {
  return [{
    scope: 'system',
    name: 'conns',
    used: node.getConnections().length,
    limit: node.components?.connectionManager?.getMaxConnections()
  }, {
    scope: 'process',
    name: 'memory',
    used: process.memoryUsage.rss()
  }]
}
