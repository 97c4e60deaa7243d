// What every publisher must keep, whatever its language: a daemon that is a script, and a libp2p
// node that comes from outside.
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { createServer } from 'node:net'
import { before, describe, test } from 'node:test'
import { setImmediate } from 'node:timers/promises'
import { Daemon, socketPath } from '../js-libp2p/test/daemon.mjs'
import { visitor } from '../js-libp2p/test/watch.mjs'
import { built, publishers, run } from './publishers.mjs'

const timeout = 400_000
const MEBIBYTE = 1024 * 1024
const count = (daemon, payload) => daemon.messages.filter(message => message[payload] != null).length

/** A daemon to which the publisher's node is published. */
async function watched (t, publisher, options) {
  const path = socketPath(t)
  const daemon = await Daemon.listen(t, path)
  const node = await run(t, publisher, path, options)
  await daemon.next('runtime')
  return { path, daemon, node }
}

for (const publisher of publishers) {
  describe(publisher.name, { skip: publisher.skip }, () => {
    if (!publisher.skip) before(() => { built(publisher) }) // no test's time

    test('the runtime comes first, and names the node', { timeout }, async t => {
      const { daemon, node } = await watched(t, publisher)
      assert.equal(daemon.messages[0].version.version, 1)
      const { runtime } = daemon.messages[0]
      assert.equal(runtime.peerId, node.peerId)
      for (const name of ['implementation', 'version', 'platform']) {
        assert.notEqual(runtime[name], '', name)
      }
      assert.ok(runtime.eventTypes.some(({ name }) => name === 'ConnectionOpened'))
    })

    test('a state is sent for each request and for nothing else', { timeout }, async t => {
      const { daemon, node } = await watched(t, publisher)
      const guest = await visitor(t, node.addresses)
      await daemon.nextEvent('ConnectionOpened', guest.peerId)
      assert.equal(count(daemon, 'state'), 0)

      await daemon.ask()
      await daemon.ask()
      daemon.socket.write('no state, please')
      await guest.stop()
      await daemon.nextEvent('ConnectionClosed', guest.peerId)
      assert.equal(count(daemon, 'state'), 2)
    })

    test('requests that come before the answer are one', { timeout }, async t => {
      const { daemon, node } = await watched(t, publisher)
      daemon.socket.write('r'.repeat(1000))
      await daemon.next('state')
      const guest = await visitor(t, node.addresses)
      await daemon.nextEvent('ConnectionOpened', guest.peerId)
      assert.equal(count(daemon, 'state'), 1)
    })

    test('a state follows the one before, and knows who is connected', { timeout }, async t => {
      const { daemon, node } = await watched(t, publisher, { peers: 3 })
      // the other end may know the connection before the node does
      const first = await daemon.askUntil(state => state.subsystems.connections.length === 3)
      const second = await daemon.ask()
      assert.equal(second.startTs, first.instantTs)

      const { connections } = second.subsystems
      assert.deepEqual(connections.map(({ peerId }) => peerId).sort(), node.peers.toSorted())
      for (const { role, status, transportId, endpoints, attribs, timeline } of connections) {
        assert.deepEqual([role, status, transportId.toString()], ['RESPONDER', 'ACTIVE', 'ip4+tcp'])
        assert.ok(node.addresses.some(address => address.startsWith(`${endpoints.srcMultiaddr}/p2p/`)), endpoints.srcMultiaddr)
        assert.match(endpoints.dstMultiaddr, /^\/ip4\/127\.0\.0\.1\/tcp\/\d+(\/p2p\/|$)/)
        assert.deepEqual([attribs.encryption, attribs.multiplexer], ['/noise', '/yamux/1.0.0'])
        assert.ok(timeline.openTs > 0 && timeline.openTs <= second.instantTs)
      }
      const ids = ({ subsystems: { connections } }) => connections.map(({ id }) => id.toString()).sort()
      assert.deepEqual(ids(first), ids(second))
    })

    test('a connection that closed is shown once more', { timeout }, async t => {
      const { daemon, node } = await watched(t, publisher)
      const guest = await visitor(t, node.addresses)
      const isGuest = ({ peerId }) => peerId === guest.peerId
      await daemon.askUntil(({ subsystems: { connections } }) => connections.some(isGuest))
      // what closes is kept for seconds after a state, which the guest may take to stop
      const [{ subsystems: { connections: [closed, ...others] } }] = await Promise.all([
        daemon.askUntil(({ subsystems: { connections: [one] } }) => one?.status === 'CLOSED'), guest.stop()
      ])
      assert.deepEqual(others, [])
      assert.ok(isGuest(closed))
      assert.ok(closed.timeline.closeTs >= closed.timeline.openTs)
      assert.deepEqual((await daemon.ask()).subsystems.connections, [])
    })

    test('daemon and node come and go in every order', { timeout }, async t => {
      const path = socketPath(t)
      let node = await run(t, publisher, path) // before there is a daemon
      for (let round = 0; round < 3; round++) {
        const daemon = await Daemon.listen(t, path)
        assert.equal((await daemon.next('runtime')).peerId, node.peerId)
        await daemon.ask()

        daemon.socket.destroy() // the connection alone
        assert.equal((await daemon.next('runtime')).peerId, node.peerId)
        await daemon.ask()

        const gone = once(daemon.socket, 'close')
        await node.kill() // while it is being watched
        await gone
        node = await run(t, publisher, path)
        assert.equal((await daemon.next('runtime')).peerId, node.peerId)
        await daemon.ask()
        await daemon.close()
      }
    })

    test('a daemon that turns the node away is asked ever less often', { timeout }, async t => {
      const path = socketPath(t)
      const server = createServer().listen(path)
      await once(server, 'listening')
      t.after(() => server.close())
      const times = []
      server.on('connection', socket => {
        times.push(performance.now())
        socket.on('error', () => {}) // the node is not done talking
        socket.end('r')
        socket.resume()
        server.emit('turned away')
      })
      const running = run(t, publisher, path)
      while (times.length < 6) await once(server, 'turned away')
      // no wait has an upper bound on a busy machine
      for (let i = 1; i < 6; i++) {
        const shortest = 100 * 2 ** (i - 1) / 2
        assert.ok(times[i] - times[0] > shortest - 20, `try ${i} came ${times[i] - times[0]} ms after the first`)
      }
      await running
    })

    test('a daemon that does not read costs bounded memory, and the node nothing', { timeout }, async t => {
      const { daemon, node } = await watched(t, publisher, { peers: 50 })
      const before = daemon.socket.bytesRead
      await daemon.ask()
      const perState = daemon.socket.bytesRead - before
      const requests = Math.ceil(4 * MEBIBYTE / perState)

      daemon.socket.pause()
      const paused = daemon.socket.bytesRead
      for (let i = 0; i < requests; i++) {
        daemon.socket.write('r')
        await setImmediate()
      }
      const { connection, stop } = await visitor(t, node.addresses) // the node goes on as if nothing were
      assert.equal(connection.status, 'open')
      await stop()

      const resumed = Date.now()
      daemon.socket.resume()
      await daemon.askUntil(({ instantTs }) => instantTs >= resumed)
      const held = daemon.socket.bytesRead - paused
      assert.ok(held < 2 * MEBIBYTE, `${held} bytes were held`)
    })

    test('a daemon that sends what it likes does not keep the node from its work', { timeout }, async t => {
      const { daemon, node } = await watched(t, publisher, { peers: 1 })
      const noise = randomBytes(MEBIBYTE)
      for (let i = 0; i < 8; i++) {
        if (!daemon.socket.write(noise)) {
          await once(daemon.socket, 'drain')
        }
      }
      await visitor(t, node.addresses)
      await daemon.askUntil(({ subsystems: { connections } }) => connections.length === 2)
    })

    const { many = 1000 } = publisher
    test(`${many} connections`, { timeout: 2 * timeout }, async t => {
      const { daemon, node } = await watched(t, publisher, { peers: many })
      const { subsystems: { connections } } = await daemon.askUntil(state => state.subsystems.connections.length === many)
      assert.deepEqual(connections.map(({ peerId }) => peerId).sort(), node.peers.toSorted())
      assert.equal(new Set(connections.map(({ id }) => id.toString())).size, many)
    })

    test('the program ends with its input', { timeout }, async t => {
      const { node } = await watched(t, publisher)
      node.child.stdin.end()
      const [code] = await node.exit
      assert.equal(code, 0)
    })
  })
}
