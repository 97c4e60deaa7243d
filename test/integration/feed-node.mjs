// A libp2p node as the daemon's feed sees it: it says what it is asked for.
import { once } from 'node:events'
import { connect } from 'node:net'
import { join } from 'node:path'
import { daemon, folder, ServerMessage, until } from './daemon.mjs'

// A state as it goes over the feed, with size bytes of it that mean nothing.
export function encodeState (size = 0, state = {}) {
  const topics = size > 0 ? [{ name: 'x'.repeat(size) }] : []
  return ServerMessage.encodeDelimited({ state: { instantTs: Date.now(), topics, ...state } }).finish()
}

// The daemon, waiting for a node at d.feed.
export async function feedDaemon (t, options = [], { expect = [], ...settings } = {}) {
  const path = join(folder(t), 'feed')
  const d = await daemon(t, ['--feed', path, ...options],
    { expect: [/^feed_(dis)?connected$/, ...expect], ...settings })
  // Answered, or refused for its certificate, by the loop, which begins when the source is open.
  await fetch(`${d.url}healthz`).catch(() => {})
  d.feed = path
  return d
}

// Answers the n-th request, from 1, with what answer(n) returns.
export async function node (t, d, answer = () => encodeState()) {
  const socket = connect(d.feed)
  const n = { socket, requests: 0 }
  socket.on('data', requests => {
    for (let i = 0; i < requests.length; i++) socket.write(answer(++n.requests))
    socket.emit('request')
  })
  socket.on('error', error => { n.error = error })
  n.requested = (count, ms) => until(socket, 'request', () => n.requests >= count, ms)
  t.after(() => socket.destroy())
  await once(socket, 'connect')
  return n
}
