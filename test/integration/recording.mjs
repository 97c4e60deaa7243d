// Makes recordings, with an encoder of its own, and states to record.
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { load } from '../dashboard/page.mjs'
import { folder, ServerMessage } from './daemon.mjs'

export function checksum (bytes) {
  let sum = 0x811c9dc5
  for (const byte of bytes) sum = Math.imul(sum ^ byte, 0x01000193) >>> 0
  return sum
}

export function uint32 (...numbers) {
  const bytes = Buffer.alloc(4 * numbers.length)
  numbers.forEach((n, i) => bytes.writeUInt32LE(n, 4 * i))
  return bytes
}

export const framed = message => Buffer.concat([uint32(checksum(message), message.length), message])
export const encoded = message => Buffer.from(ServerMessage.encode(ServerMessage.fromObject(message)).finish())
export const recording = (...messages) => Buffer.concat([uint32(1), ...messages.map(m => framed(encoded(m)))])

// The message of a snapshot with all that the observer toolkit's UI needs, as the page exports it.
export async function completed (message) {
  const { readRecording, writeRecording } = await load('recording.js')
  return Buffer.from(readRecording(new Uint8Array(await writeRecording([message]).arrayBuffer())).messages[0])
}

export function save (t, bytes) {
  const path = join(folder(t), 'recording')
  writeFileSync(path, bytes)
  return path
}

const gauge = n => ({ cumBytes: n, cumPackets: n + 1, instBw: 7 })
export const traffic = n => ({ trafficIn: gauge(n), trafficOut: gauge(3 * n) })

// Something of everything, with count connections.
export function bigState (count = 20) {
  const protocols = ['/ping/1.0.0', '/ipfs/id/1.0.0', '/ipfs/kad/1.0.0']
  return {
    subsystems: {
      connections: Array.from({ length: count }, (_, i) => ({
        id: Buffer.from(`${i}`),
        peerId: `peer${i}`,
        status: i % 5,
        role: i % 2,
        transportId: Buffer.from(['ip4+tcp', 'ip6+udp+quic-v1'][i % 7 % 2]),
        traffic: traffic(i),
        streams: { streams: protocols.map((protocol, k) => ({ protocol, status: (i + k) % 5, traffic: traffic(k) })) }
      })),
      dht: {
        enabled: true,
        buckets: [{ cpl: 1, peers: [0, 0, 1, 3].map(status => ({ status })) }, { peers: [{ status: 2 }] }],
        incomingQueries: { success: 5, error: 4, timeout: 3 },
        outgoingQueries: { success: 2 }
      }
    },
    traffic: traffic(1e9),
    protocols: protocols.map((protocol, i) => ({ protocol, traffic: traffic(100 * i + 1) })),
    resources: [
      { scope: 'system', name: 'memory', used: 123456789, limit: 2e9 },
      { scope: 'transient', name: 'conns-inbound', used: 3 }
    ],
    instantTs: 1700000000000
  }
}
