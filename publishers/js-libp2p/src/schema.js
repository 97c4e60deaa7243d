import { readFileSync } from 'node:fs'
import protobuf from 'protobufjs'

const source = readFileSync(new URL('../introspection.proto', import.meta.url), 'utf8')
// The names of the schema are used as they are written there.
const { root } = protobuf.parse(source, { keepCase: true })

const ServerMessage = root.lookupType('introspection.ServerMessage')

export const Status = root.lookupEnum('introspection.Status').values
export const Role = root.lookupEnum('introspection.Role').values
export const Reachability = root.lookupEnum('introspection.OwnAddress.Reachability').values
export const PeerStatus = root.lookupEnum('introspection.DHT.PeerInDHT.Status').values
export const PropertyType = root.lookupEnum('introspection.EventType.EventProperty.PropertyType').values

/**
 * A ServerMessage behind its length, as the feed carries it.
 *
 * @param {object} payload - one of `{ state }`, `{ runtime }` and `{ event }`
 * @returns {Uint8Array}
 */
export function encode (payload) {
  return ServerMessage.encodeDelimited({ version: { version: 1 }, ...payload }).finish()
}
