import { PropertyType } from './schema.js'

// No MULTIADDR: the observer toolkit's UI ends when one is to be shown.
const { PEERID, STRING, TIME } = PropertyType

const connection = {
  properties: {
    connectionId: STRING,
    peerId: PEERID,
    multiaddr: STRING,
    direction: STRING
  },
  content: ({ id, remotePeer, remoteAddr, direction }) => ({
    connectionId: id,
    peerId: remotePeer,
    multiaddr: remoteAddr,
    direction
  })
}

const peer = {
  properties: { peerId: PEERID },
  content: (peerId) => ({ peerId })
}

/** Events of libp2p and how they are told; a type in an array is one with many values. */
const EVENTS = {
  'connection:open': { name: 'ConnectionOpened', ...connection },
  'connection:close': {
    name: 'ConnectionClosed',
    properties: { ...connection.properties, status: STRING, openedAt: TIME },
    content: (closed) => ({
      ...connection.content(closed),
      status: closed.status, // closed, aborted or reset
      openedAt: closed.timeline.open
    })
  },
  'peer:connect': { name: 'PeerConnected', ...peer },
  'peer:disconnect': { name: 'PeerDisconnected', ...peer },
  'peer:identify': {
    name: 'PeerIdentified',
    properties: {
      peerId: PEERID,
      connectionId: STRING,
      agentVersion: STRING,
      protocolVersion: STRING,
      protocols: [STRING],
      listenAddrs: [STRING],
      observedAddr: STRING
    },
    content: ({ peerId, connection, agentVersion, protocolVersion, protocols, listenAddrs, observedAddr }) => ({
      peerId,
      connectionId: connection.id,
      agentVersion,
      protocolVersion,
      protocols,
      listenAddrs,
      observedAddr
    })
  }
}

export const EVENT_NAMES = Object.keys(EVENTS)

/** The EventType messages of all that can be sent. */
export const EVENT_TYPES = Object.values(EVENTS).map(eventType)

function eventType ({ name, properties }) {
  return {
    name,
    property_types: Object.entries(properties).map(([name, type]) => ({
      name,
      type: [type].flat()[0],
      has_multiple: Array.isArray(type)
    }))
  }
}

/**
 * @param {string} libp2pName - one of EVENT_NAMES
 * @param {any} detail - as libp2p gives it
 * @param {boolean} first - of its type on this connection: its properties are told
 * @returns {object} an Event
 */
export function makeEvent (libp2pName, detail, first) {
  const event = EVENTS[libp2pName]

  return {
    type: first ? eventType(event) : { name: event.name },
    ts: Date.now(),
    content: JSON.stringify(event.content(detail))
  }
}
