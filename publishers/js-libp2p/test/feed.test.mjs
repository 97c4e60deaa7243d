import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { createServer } from 'node:net'
import { test } from 'node:test'
import { setImmediate, setTimeout } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { publish } from 'introspectd-publisher'
import { version } from 'libp2p/version'
import { Daemon, socketPath } from './daemon.mjs'
import { start, watch } from './watch.mjs'

const options = { timeout: 300_000 }
const MEBIBYTE = 1024 * 1024

const count = (daemon, payload) => daemon.messages.filter(message => message[payload] != null).length

test('a state is sent for each request and for nothing else', options, async (t) => {
  const [node, peer] = await Promise.all([start(t), start(t)])
  const daemon = await watch(t, node)

  await node.dial(peer.getMultiaddrs())
  await daemon.nextEvent('PeerIdentified')
  assert.equal(count(daemon, 'state'), 0)

  await daemon.ask()
  await daemon.ask()
  daemon.socket.write('no state, please')
  await peer.stop()
  await daemon.nextEvent('PeerDisconnected')
  assert.equal(count(daemon, 'state'), 2)
})

test('requests that come before the answer are one', options, async (t) => {
  const [node, peer] = await Promise.all([start(t), start(t)])
  const daemon = await watch(t, node)

  daemon.socket.write('r'.repeat(1000))
  await daemon.next('state')
  await node.dial(peer.getMultiaddrs())
  await daemon.nextEvent('PeerConnected')
  assert.equal(count(daemon, 'state'), 1)
})

test('the runtime comes first on every connection', options, async (t) => {
  const node = await start(t)
  const daemon = await watch(t, node)

  daemon.socket.destroy()
  await daemon.next('runtime')
  assert.deepEqual(daemon.messages.map(({ version, state, event }) => [version, state, event]), [
    [{ version: 1 }, undefined, undefined],
    [{ version: 1 }, undefined, undefined]
  ])

  for (const { runtime } of daemon.messages) {
    assert.equal(runtime.implementation, 'js-libp2p')
    assert.equal(runtime.version, version)
    assert.equal(runtime.peerId, node.peerId.toString())
    assert.ok(runtime.platform.includes(process.version.slice(1)))
  }
})

test('daemon and node come and go in every order', options, async (t) => {
  const path = socketPath(t)
  const node = await start(t)
  const publisher = publish(node, { path })
  t.after(() => publisher.stop())
  await setTimeout(1000) // in which there is no daemon

  for (let round = 0; round < 3; round++) {
    const daemon = await Daemon.listen(t, path)
    const { peerId } = await daemon.next('runtime')
    assert.equal(peerId, node.peerId.toString())
    await daemon.ask()
    await daemon.close()
  }
})

test('a daemon that turns the node away is asked ever less often', options, async (t) => {
  const path = socketPath(t)
  const node = await start(t)
  const server = createServer().listen(path)
  await once(server, 'listening')
  t.after(() => server.close())

  const publisher = publish(node, { path })
  t.after(() => publisher.stop())
  const times = []

  while (times.length < 6) {
    const [socket] = await once(server, 'connection')
    times.push(performance.now())
    socket.on('error', () => {}) // the node is not done talking
    socket.write('r')
    socket.end()
    socket.resume()
  }

  const waits = times.slice(1).map((time, index) => time - times[index])
  waits.forEach((wait, index) => {
    const longest = 100 * 2 ** index
    assert.ok(wait > longest / 2 - 5, `wait ${index} was ${wait} ms`) // on a busy machine it may be longer
  })
})

test('a daemon that does not read costs bounded memory and no events', options, async (t) => {
  const [node, peer] = await Promise.all([start(t), start(t)])
  const daemon = await watch(t, node)
  await node.dial(peer.getMultiaddrs())
  const bytesOfState = daemon.socket.bytesRead
  await daemon.ask()
  const perState = daemon.socket.bytesRead - bytesOfState

  daemon.socket.pause()
  const before = daemon.socket.bytesRead
  const requests = Math.ceil(4 * MEBIBYTE / perState)
  for (let i = 0; i < requests; i++) {
    daemon.socket.write('r')
    await setImmediate()
  }

  // The node goes on as if nothing were.
  for (let i = 0; i < 20; i++) {
    await node.services.ping.ping(peer.peerId)
  }
  await Promise.all([once(node, 'peer:disconnect'), peer.stop()])

  const resumed = Date.now()
  const stalled = count(daemon, 'state')
  daemon.socket.resume()
  let state
  do {
    state = await daemon.next('state')
  } while (state.instantTs < resumed)

  assert.ok(count(daemon, 'state') - stalled < requests)
  assert.ok(daemon.socket.bytesRead - before < MEBIBYTE, `${daemon.socket.bytesRead - before} bytes were held`)
  assert.equal(daemon.messages.filter(({ event }) => event?.type.name === 'PeerDisconnected').length, 0)
})

test('a daemon that sends what it likes does not keep the node from its work', options, async (t) => {
  const [node, peer] = await Promise.all([start(t), start(t)])
  const daemon = await watch(t, node)
  await node.dial(peer.getMultiaddrs())

  const noise = randomBytes(MEBIBYTE)
  const pings = []
  for (let i = 0; i < 16; i++) {
    if (!daemon.socket.write(noise)) {
      await once(daemon.socket, 'drain')
    }
    pings.push(await node.services.ping.ping(peer.peerId))
  }
  assert.ok(pings.toSorted((a, b) => a - b)[8] < 1000, `${pings} ms`)

  assert.equal((await daemon.ask()).subsystems.connections.length, 1)
})

test('an error while a state is made ends the connection alone', options, async (t) => {
  const node = await start(t)
  const daemon = await watch(t, node)
  const [first] = daemon.sockets
  const { getConnections } = node

  node.getConnections = () => { throw new Error('broken') }
  first.write('r')
  await once(first, 'close')
  node.getConnections = getConnections

  await daemon.next('runtime')
  await daemon.ask()
})

test('stop leaves the node as it was', options, async (t) => {
  const path = socketPath(t)
  const daemon = await Daemon.listen(t, path)
  const node = await start(t)
  const types = ['connection:open', 'connection:close', 'peer:connect', 'peer:disconnect', 'peer:identify']
  const listeners = () => types.map(type => node.listenerCount(type))
  const before = listeners()

  const publisher = publish(node, { path })
  await daemon.next('runtime')
  assert.notDeepEqual(listeners(), before)

  const closed = once(daemon.socket, 'close')
  publisher.stop()
  publisher.stop()
  await closed
  assert.deepEqual(listeners(), before)

  await setTimeout(500) // several times what a first retry takes
  assert.equal(daemon.sockets.length, 1)
})

test('what is no path is refused, what is no socket is not', options, async (t) => {
  const node = await start(t)
  assert.throws(() => publish(node), { name: 'TypeError', message: /path must name the daemon's feed socket, got undefined/ })
  assert.throws(() => publish(node, { path: 4801 }), /got 4801/)
  assert.throws(() => publish(node, { path: '' }), TypeError)

  for (const path of [fileURLToPath(import.meta.url), '/', '4801', '/' + 'x'.repeat(200)]) {
    publish(node, { path }).stop()
  }
})

for (const stop of ['publisher.stop()', '']) {
  for (const daemon of ['no', 'a']) {
    test(`with ${daemon} daemon a process exits by itself, ${stop === '' ? 'even without' : 'after'} stop`, options, async (t) => {
      const path = socketPath(t)
      const server = daemon === 'a' ? await Daemon.listen(t, path) : undefined
      const program = `
        import { once } from 'node:events'
        import { publish } from 'introspectd-publisher'
        import { createNode } from './example/node.mjs'
        const node = await createNode()
        const publisher = publish(node, { path: ${JSON.stringify(path)} })
        await once(process.stdin.resume(), 'end')
        ${stop}
        await node.stop()
        console.log('stopped')`

      const run = promisify(execFile)(process.execPath, ['--input-type=module', '--eval', program], {
        cwd: fileURLToPath(new URL('..', import.meta.url)),
        timeout: 250_000
      })
      await server?.next('runtime')
      run.child.stdin.end()

      const { stdout, stderr } = await run
      assert.equal(stdout, 'stopped\n')
      assert.equal(stderr, '')
    })
  }
}
