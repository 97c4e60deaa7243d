// node --expose-gc --max-semi-space-size=64 test/bench.mjs [CONNECTIONS]: what a state costs a node, made and encoded.
import { memoryUsage, cpuUsage } from 'node:process'
import { noise } from '@libp2p/noise'
import { tcp } from '@libp2p/tcp'
import { yamux } from '@libp2p/yamux'
import { introspectionMetrics } from 'introspectd-publisher'
import { createLibp2p } from 'libp2p'
import { encode } from '../src/schema.js'
import { StateMaker } from '../src/state.js'

const CONNECTIONS = Number(process.argv[2] ?? 1000)
const ROUNDS = 50

const create = (listen) => createLibp2p({
  addresses: { listen },
  transports: [tcp({ backlog: 1024 })],
  connectionEncrypters: [noise()],
  streamMuxers: [yamux()],
  connectionMonitor: { enabled: false },
  connectionManager: { maxConnections: 1e6, inboundConnectionThreshold: 1e6, maxIncomingPendingConnections: 1e6 },
  metrics: introspectionMetrics()
})
const node = await create(['/ip4/127.0.0.1/tcp/0'])
for (let i = 0; i < CONNECTIONS; i++) await (await create([])).dial(node.getMultiaddrs())

const states = new StateMaker(node)
const make = () => encode({ state: states.make() })
for (let i = 0; i < ROUNDS; i++) make() // until it is compiled

const began = cpuUsage()
for (let i = 0; i < ROUNDS; i++) make()
const { user, system } = cpuUsage(began)

global.gc()
const heap = memoryUsage().heapUsed
const { length } = make()
const allocated = memoryUsage().heapUsed - heap // before anything is collected
console.log(`${CONNECTIONS} connections: ${length} bytes, ${((user + system) / ROUNDS / 1000).toFixed(1)} ms CPU and ${(allocated / 1024).toFixed(0)} KiB of heap for a state`)
process.exit()
