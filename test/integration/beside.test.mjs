// A good client beside each attack takes at most twice as long as when another daemon is
// attacked. LOAD=full: for longer (make load).
import { connect as connectSocket } from 'node:net'
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { beside } from '../load/beside.mjs'
import { flood } from '../load/flood.mjs'
import { encode } from './command-client.mjs'
import { client, folder, ServerMessage } from './daemon.mjs'
import { encodeState, feedDaemon } from './feed-node.mjs'
import { connect, frame, handshake, text } from './raw.mjs'

const FULL = process.env.LOAD === 'full'
const TIMES = { rounds: FULL ? 9 : 3, ms: FULL ? 3000 : 500 }
const INTERVAL = 20   // ms
const STRANGER = '127.0.0.66'
const delimited = message => ServerMessage.encodeDelimited(message).finish()

// A daemon whose node, a connection that comes again when it is lost, states bytes.
async function fed (t, bytes, options = [], expect = []) {
  const d = await feedDaemon(t, ['--interval', `${INTERVAL}`, ...options], { expect: [/^feed_/, ...expect] })
  let stopped = false
  t.after(() => { stopped = true; d.node?.destroy() })
  const begin = () => {
    if (stopped) return
    d.node = connectSocket(d.feed)
    d.node.on('data', requests => { for (const _ of requests) d.node.write(bytes) })
    d.node.on('error', () => {})
    d.node.on('close', () => setTimeout(begin, 20))
  }
  begin()
  await once(d.node, 'connect')
  return d
}

// Two of them, and a good client of the first, which is served once by next().
async function both (t, { bytes = encodeState(2000), options, expect, headers } = {}) {
  const [target, decoy] = [await fed(t, bytes, options, expect), await fed(t, bytes, options, expect)]
  const c = await client(t, target.ws, { headers })
  await c.received(1, 20000)
  const good = async () => {
    await c.next(20000)
    c.raw.length = 0
    c.snapshots.fill(null)
  }
  return { target, decoy, good, ...TIMES }
}

// Begins something again and again; returns what ends it.
function repeatedly (ms, what) {
  const timer = setInterval(what, ms)
  return () => clearInterval(timer)
}

const flooded = (...settings) => d => {
  const f = flood(d.port, ...settings)
  return () => f.end()
}

test('tokens are guessed', async t => {
  const token = join(folder(t), 'token'), right = 'correct-horse.battery_staple~1'
  writeFileSync(token, right, { mode: 0o600 })
  const attack = flooded(40, { start: handshake({ Authorization: 'Bearer 0123456789abcdef' }), ends: 'ab', rate: 2000 })
  await beside(t, {
    ...await both(t, {
      options: ['--token-file', token], expect: [/^refused /, /^wrong_token /], headers: { Authorization: `Bearer ${right}` }
    }),
    attack
  })
})

test('idle connections come, and a good client is slow to say something', async t => {
  const servers = await both(t, { options: ['--max-clients', '8'] })
  await beside(t, {
    ...servers,
    good: async () => {
      const c = await connect(t, { port: servers.target.port })
      await delay(100)   // of a round trip or two
      c.send(handshake())
      await c.frame(0)
      c.socket.destroy()
    },
    attack: d => {
      const held = []
      const end = repeatedly(5, () => {
        for (let i = 0; i < 3; i++) {
          const socket = connectSocket({ port: d.port, host: '127.0.0.1', localAddress: STRANGER })
          socket.on('error', () => {})
          if (held.push(socket) > 500) held.shift().destroy()
        }
      })
      return () => { end(); held.forEach(socket => socket.destroy()) }
    }
  })
})

test('slow readers hold snapshots', async t => {
  await beside(t, {
    ...await both(t, { bytes: encodeState(4e5), options: ['--max-clients', '200'] }),
    attack: d => {
      const held = []
      const end = repeatedly(20, () => {
        const socket = connectSocket(d.port, '127.0.0.1')
        socket.on('error', () => {})
        socket.pause()
        socket.write(handshake())
        if (held.push(socket) > 60) held.shift().destroy()
      })
      return () => { end(); held.forEach(socket => socket.destroy()) }
    }
  })
})

test('states of 8 MB are requested at full speed', async t => {
  const state = frame(0x82, encode('REQUEST', { id: 2, source: 'STATE' }))
  const start = Buffer.concat([Buffer.from(handshake({}, '/introspect')), frame(0x82, encode('HELLO', { id: 1 }))])
  await beside(t, {
    ...await both(t, { bytes: encodeState(8e6) }),
    attack: flooded(2, { start, repeat: state, ms: 2 })
  })
})

test('events of ever new types', async t => {
  let types = 0
  await beside(t, {
    ...await both(t, { expect: [/^event_/] }),
    attack: d => repeatedly(5, () => {
      for (let i = 0; i < 16; i++) d.node.write(delimited({ event: { type: { name: `type-${++types}` }, ts: types, content: '{}' } }))
    })
  })
})

test('a feed is squatted', async t => {
  await beside(t, {
    ...await both(t),
    attack: d => {
      const held = []
      const end = repeatedly(20, () => {
        const socket = connectSocket(d.feed)
        socket.on('error', () => {})
        socket.write(encodeState(100).subarray(0, 50))   // half of a message
        if (held.push(socket) > 100) held.shift().destroy()
      })
      return () => { end(); held.forEach(socket => socket.destroy()) }
    }
  })
})
