// A client of the command protocol on /introspect. It checks every frame that
// comes, with nothing of the daemon's code.
import assert from 'node:assert/strict'
import { once } from 'node:events'
import WebSocket from 'ws'
import { schema, ServerMessage, until } from './daemon.mjs'

const Command = schema.lookupType('introspection.ClientCommand')
const HEADER = 12

function fnv1a (bytes) {
  let hash = 0x811c9dc5
  for (const byte of bytes) hash = Math.imul(hash ^ byte, 0x01000193)
  return hash >>> 0
}

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
  assert.equal(data.readUInt32LE(4), fnv1a(message), 'checksum')
  return { message, ...ServerMessage.toObject(ServerMessage.decode(message), { longs: Number, defaults: true, oneofs: true, enums: String }) }
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
