import { connect } from 'node:net'

const READY = 'r'.charCodeAt(0)
const RETRY_FIRST = 100 // ms, doubled with every failure
const RETRY_LONGEST = 5_000 // ms

/**
 * The connection to the daemon's Unix socket. It is made again whenever it is
 * lost, and never keeps the process alive. Nothing is queued but in the socket's
 * own buffer: while that is full, the next state is not made and offers are
 * turned down.
 */
export class Feed {
  #path
  #log
  #hello
  #state
  #socket
  #timer
  #stopped = false
  #failures = 0
  #ready = false
  #answered = false

  /**
   * @param {object} init
   * @param {string} init.path
   * @param {import('@libp2p/interface').Logger} init.log
   * @param {() => Uint8Array} init.hello - what to send first on every connection
   * @param {() => Uint8Array} init.state - called for every state that the daemon asked for
   */
  constructor ({ path, log, hello, state }) {
    this.#path = path
    this.#log = log
    this.#hello = hello
    this.#state = state
    this.#connect()
  }

  get connected () {
    return this.#socket.readyState === 'open'
  }

  /** @param {() => Uint8Array} message - called, and its result sent, if there is room */
  offer (message) {
    if (this.#writable) {
      this.#socket.write(message())
    }
  }

  stop () {
    this.#stopped = true
    clearTimeout(this.#timer)
    this.#socket.destroy()
  }

  get #writable () {
    return this.connected && !this.#socket.writableNeedDrain
  }

  #connect () {
    const socket = connect({ path: this.#path })
    socket.unref()
    socket.on('connect', () => this.#orDisconnect(() => socket.write(this.#hello())))
    socket.on('data', (data) => this.#orDisconnect(() => this.#received(data)))
    socket.on('drain', () => this.#orDisconnect(() => this.#answer()))
    socket.on('error', (err) => { this.#log('%s: %s', this.#path, err.message) })
    socket.on('close', () => this.#retry())
    this.#socket = socket
    this.#ready = false
    this.#answered = false
  }

  #received (data) {
    if (data.includes(READY)) {
      // Asking again is the sign that the daemon took what it got.
      if (this.#answered) {
        this.#failures = 0
      }
      this.#ready = true
      this.#answer()
    }
  }

  /** Any number of requests that came before the answer are one. */
  #answer () {
    if (this.#ready && this.#writable) {
      this.#ready = false
      this.#answered = true
      this.#socket.write(this.#state())
    }
  }

  /** An error of ours ends the connection, not the node. */
  #orDisconnect (action) {
    try {
      action()
    } catch (err) {
      this.#socket.destroy(err)
    }
  }

  #retry () {
    if (this.#stopped) {
      return
    }
    const delay = Math.min(RETRY_FIRST * 2 ** this.#failures++, RETRY_LONGEST)
    this.#timer = setTimeout(() => this.#connect(), delay * (0.5 + Math.random() / 2))
    this.#timer.unref()
  }
}
