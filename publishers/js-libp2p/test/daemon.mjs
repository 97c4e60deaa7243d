import assert from 'node:assert/strict'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import protobuf from 'protobufjs'

const schema = fileURLToPath(new URL('../../../introspection.proto', import.meta.url))
const ServerMessage = protobuf.loadSync(schema).lookupType('introspection.ServerMessage')

/** A path for a socket that is gone after the test. */
export function socketPath (t) {
  const folder = mkdtempSync(join(tmpdir(), 'publisher-'))
  t.after(() => rmSync(folder, { recursive: true }))
  return join(folder, 'feed.sock')
}

/** The daemon's end of the feed: reads what is published and asks for more. */
export class Daemon {
  /** Every message since the start, in order. */
  messages = []
  sockets = []
  #server
  #arrival = Promise.withResolvers()
  #read = 0

  static async listen (t, path) {
    const daemon = new Daemon()
    daemon.#server = createServer(socket => daemon.#serve(socket)).listen(path)
    await once(daemon.#server, 'listening')
    t.after(() => daemon.close())
    return daemon
  }

  /** The newest connection. */
  get socket () {
    return this.sockets.at(-1)
  }

  /** The next message that has the payload, passing over others. */
  async next (payload) {
    for (;;) {
      while (this.#read < this.messages.length) {
        const message = this.messages[this.#read++]

        if (message[payload] != null) {
          return message[payload]
        }
      }
      await this.#arrival.promise
    }
  }

  /** Skips what has arrived, then waits for the event of that type and, if given, that peer. */
  async nextEvent (type, peerId) {
    for (;;) {
      const event = await this.next('event')
      const content = JSON.parse(event.content)

      if (event.type.name === type && (peerId == null || content.peerId === peerId.toString())) {
        return { ...event, content }
      }
    }
  }

  /** A new state. */
  async ask () {
    this.#read = this.messages.length
    this.socket.write('r')
    return this.next('state')
  }

  /** Asks until the state is as expected. */
  async askUntil (expected) {
    const deadline = Date.now() + 200_000

    for (;;) {
      const state = await this.ask()

      if (expected(state)) {
        return state
      }
      assert.ok(Date.now() < deadline, `still not ${expected}: ${JSON.stringify(state)}`)
      await sleep(50)
    }
  }

  async close () {
    for (const socket of this.sockets) {
      socket.destroy()
    }
    if (this.#server.listening) {
      this.#server.close()
      await once(this.#server, 'close')
    }
  }

  #serve (socket) {
    let pending = Buffer.alloc(0)
    this.sockets.push(socket)

    socket.on('error', () => {})
    socket.on('data', (data) => {
      pending = Buffer.concat([pending, data])

      for (;;) {
        const [message, length] = decode(pending)

        if (message == null) {
          break
        }
        pending = pending.subarray(length)
        this.messages.push(message)
      }

      this.#arrival.resolve()
      this.#arrival = Promise.withResolvers()
    })
  }
}

/** The first message of the bytes and how many are its own, or nothing when it is not yet whole. */
function decode (bytes) {
  const reader = protobuf.Reader.create(bytes)

  try {
    const message = ServerMessage.decodeDelimited(reader)
    return [ServerMessage.toObject(message, { longs: Number, enums: String, bytes: Buffer, defaults: true }), reader.pos]
  } catch (err) {
    if (err instanceof RangeError) {
      return []
    }
    throw err
  }
}
