// A client of the command protocol on /introspect. It checks every frame that
// comes, with nothing of the daemon's code. And a libp2p node for the tests of it.
import assert from 'node:assert/strict'
import { once } from 'node:events'
import net from 'node:net'
import WebSocket from 'ws'
import { schema, ServerMessage, until } from './daemon.mjs'
import { feedDaemon } from './feed-node.mjs'
import { checksum } from './recording.mjs'

const Command = schema.lookupType('introspection.ClientCommand')
const HEADER = 12

// 'PUSH_ENABLE' or a number; 'EVENTS' or a number; configuration fields as in the schema.
export function encode (command, { id = 0, source, config, version } = {}) {
  return Command.encode(Command.fromObject({ version, id, command, source, config })).finish()
}

export function decodeFrame (data, binary) {
  assert.ok(binary, 'a text frame')
  assert.ok(data.length >= HEADER, `a frame of ${data.length} bytes`)
  assert.equal(data.readUInt32LE(0), 1, 'version')
  const message = data.subarray(HEADER)
  assert.equal(data.readUInt32LE(8), message.length, 'length')
  assert.equal(data.readUInt32LE(4), checksum(message), 'checksum')
  const options = { longs: Number, enums: String, defaults: true, oneofs: true }
  return { message, ...ServerMessage.toObject(ServerMessage.decode(message), options) }
}

// Every message that came stands in received, in order; the lists by kind hold the same objects.
export async function commandClient (t, url, options = {}) {
  const socket = new WebSocket(new URL('/introspect', url), { perMessageDeflate: false, ...options })
  const c = { socket, received: [], states: [], events: [], notices: [], responses: [], runtimes: [], lastId: 0 }
  const lists = { state: c.states, event: c.events, notice: c.notices, response: c.responses, runtime: c.runtimes }

  socket.on('upgrade', response => { c.tcp = response.socket })
  socket.on('message', (data, binary) => {
    try {
      const message = decodeFrame(data, binary)
      c.received.push(message)
      lists[message.payload].push(message[message.payload])
      c.onMessage?.(message)
    } catch (error) {
      c.failure ??= error
    }
    socket.emit('received')
  })
  socket.on('error', error => { c.error = error })
  c.closed = new Promise(resolve => socket.on('close', (code, reason) => {
    resolve({ code, reason: reason.toString() })
    socket.emit('received')
  }))

  // Resolves with the value once it is truthy.
  c.until = (value, ms) => until(socket, 'received', () => {
    if (c.failure) throw c.failure
    return value()
  }, ms)
  c.count = (list, n, ms) => c.until(() => c[list].length >= n && c[list][n - 1], ms)
  c.send = (command, fields = {}) => {
    const id = fields.id ?? ++c.lastId
    socket.send(encode(command, { ...fields, id }))
    return id
  }
  c.answer = (id, ms) => c.until(() => c.responses.find(r => r.id === id), ms)
  c.ask = (command, fields, ms) => c.answer(c.send(command, fields), ms)
  c.ok = async (command, fields) => {
    const response = await c.ask(command, fields)
    assert.deepEqual([response.result, response.error], ['OK', ''], `${command} ${JSON.stringify(fields)}`)
    return response
  }
  c.refused = async (command, fields, text) => {
    const response = await c.ask(command, fields)
    assert.equal(response.result, 'ERR', command)
    assert.match(response.error, text)
    assert.equal(response.effectiveConfig, null)
  }
  c.ping = async () => {   // all that was sent to the client before the answer has come then
    socket.ping()
    await once(socket, 'pong')
    if (c.failure) throw c.failure
  }
  c.sequences = () => c.states.map(s => s.sequence)
  t.after(() => {
    socket.terminate()
    assert.equal(c.failure, undefined)
  })
  if (socket.readyState === WebSocket.CONNECTING) {
    await Promise.race([once(socket, 'open'), c.closed.then(() => { throw c.error ?? new Error('closed') })])
  }
  return c
}

export const delimited = message => ServerMessage.encodeDelimited(ServerMessage.fromObject(message)).finish()

export const eventOf = (n, { name = 'Test', properties, padding = '' } = {}) => ({
  event: { type: { name, propertyTypes: properties }, ts: n, content: JSON.stringify({ n, padding }) }
})

// A daemon whose node is the test. State n has n as its time. The node answers
// each request for a state at once while automatic is set.
export async function fedDaemon (t, { options = [], expect, env, automatic = true, size = 0, interval = 10 } = {}) {
  const d = await feedDaemon(t, ['--interval', `${interval}`, ...options], { expect, env })
  const socket = net.connect(d.feed)
  const node = { socket, automatic, size, asked: [], states: 0, events: 0 }
  socket.on('data', bytes => {
    for (const _ of bytes) {
      node.asked.push(performance.now())
      if (node.automatic) node.state()
    }
    socket.emit('asked')
  })
  socket.on('error', () => {})   // the daemon may end first; what it says about a feed it closes is checked
  node.send = message => socket.write(delimited(message))
  node.state = () => node.send({
    state: { instantTs: ++node.states, subsystems: { connections: [{ peerId: 'x'.repeat(node.size) }] } }
  })
  node.event = fields => node.send(eventOf(++node.events, fields))
  node.askedFor = (n, ms) => until(socket, 'asked', () => node.asked.length >= n, ms)
  t.after(() => socket.destroy())
  await once(socket, 'connect')
  d.node = node
  return d
}
