import assert from 'node:assert/strict'
import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, constants, openSync, readSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import test from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { build, client, daemon, folder, SILENCE, within } from './daemon.mjs'
import { encodeState, feedDaemon, node } from './feed-node.mjs'
import { close, CLOSE, connect, handshake, open, request, stopsAtOnce } from './raw.mjs'

const HOUR = ['--interval', '3600000']

// The exit status, and the ms from the signal to the end.
async function stop (d, signal) {
  const start = performance.now()
  const { code } = await d.stop(signal)
  return { code, ms: performance.now() - start }
}

for (const signal of ['SIGTERM', 'SIGINT']) {
  test(`${signal} says goodbye to all`, async t => {
    let clients
    const d = await stopsAtOnce(t, async () => {
      const d = await daemon(t, HOUR)
      clients = await Promise.all(Array.from({ length: 10 }, () => client(t, d.ws)))
      await Promise.all(clients.map(c => c.received(1)))
      return d
    }, { signal })
    assert.equal(d.lines.at(-1), `stopping signal=${signal} clients=10`)
    for (const c of clients) assert.deepEqual(await c.closed, { code: 1001, reason: '' })
  })
}

test('SIGHUP with nothing to read again is said to be that', async t => {
  const d = await daemon(t)
  d.child.kill('SIGHUP')
  await d.line(/^reloaded nothing="there is none of --token-file, --tls-cert and --networks"$/)
})

test('with nobody there it ends at once', async t => {
  await stopsAtOnce(t, () => daemon(t))
})

test('who does not answer is waited for 2 s', async t => {
  const d = await daemon(t, HOUR)
  const c = await open(t, { port: d.port, lingers: true })
  await c.frame(0)
  const { code, ms } = await stop(d)
  assert.equal(code, 0)
  assert.ok(ms > 1500 && ms < 30000, `${ms} ms`)
  const { opcode, data } = await c.frame(1)
  assert.equal(opcode, CLOSE)
  assert.equal(data.readUInt16BE(0), 1001)
})

test('nor longer for who does not read', async t => {
  const d = await feedDaemon(t, [...HOUR, '--drain', '120'])
  await node(t, d, () => encodeState(8 << 20))
  const c = await connect(t, { port: d.port })
  c.socket.pause()
  c.send(handshake())
  const other = await client(t, d.ws)
  await other.received(1)
  const { code, ms } = await stop(d)
  assert.equal(code, 0)
  assert.ok(ms < 30000, `${ms} ms`)   // before it is dropped for taking nothing
  assert.equal((await other.closed).code, 1001)
})

test('the second signal ends the wait', async t => {
  let c
  await stopsAtOnce(t, async () => {
    const d = await daemon(t, HOUR)
    c = await open(t, { port: d.port, lingers: true })
    await c.frame(0)
    return d
  }, {
    signal: 'SIGINT',
    first: async d => {
      d.child.kill('SIGTERM')
      await c.frame(1)
    }
  })
})

test('handshakes under way end, answers under way arrive', async t => {
  const d = await daemon(t, HOUR)
  const half = await connect(t, { port: d.port })
  half.send('GET / HTTP/1.1\r\n')
  const whole = await connect(t, { port: d.port })
  whole.send(request('GET /introspection.proto HTTP/1.1'))
  await whole.answered()
  const { code } = await stop(d)
  assert.equal(code, 0)
  await half.end()
  assert.equal(half.head, '')
  await whole.end()
  assert.equal(whole.body.length, Number(whole.field('Content-Length')))
})

test('who was about to leave leaves', async t => {
  const d = await daemon(t, HOUR)
  const c = await open(t, { port: d.port })
  await c.frame(0)
  d.child.kill('SIGSTOP')
  c.send(close(1000))
  d.child.kill('SIGTERM')
  d.child.kill('SIGCONT')
  const { data } = await c.frame(1)
  assert.ok([1000, 1001].includes(data.readUInt16BE(0)))
  assert.equal((await stop(d)).code, 0)
})

test('SIGUSR1 writes a line for each slot', async t => {
  await within(SILENCE, async () => {
    const d = await daemon(t, HOUR, { expect: [/^slot /] })
    const line = (state, port, numbers) => d.line(new RegExp(`^slot number=\\d+ state=${state} ` +
      `peer=127\\.0\\.0\\.1:${port} ${numbers} unsent=0 quiet_ms=\\d+$`))
    const c = await client(t, d.ws)
    await c.received(1)
    c.ready()
    c.socket.ping()
    await once(c.socket, 'pong')
    const half = await connect(t, { port: d.port })
    half.send('GET')
    const done = await open(t, { port: d.port, lingers: true })
    done.send(close(1000))
    await done.end()
    d.child.kill('SIGUSR1')
    await line('open', '\\d+', 'ready=1 sequence=1 snapshots=1')
    await line('head', half.socket.localPort, 'ready=0 sequence=0 snapshots=0')
    await line('lingering', done.socket.localPort, 'ready=0 sequence=1 snapshots=1')
    assert.equal(d.lines.filter(line => line.startsWith('slot ')).length, 3)
    done.socket.end()
  })
})

test('SIGPIPE and SIGUSR1 harm nobody', async t => {
  const d = await daemon(t, ['--interval', '10'], { expect: [/^slot /] })
  const c = await client(t, d.ws)
  await c.received(1)
  for (let i = 0; i < 20; i++) {
    d.child.kill('SIGPIPE')
    d.child.kill('SIGUSR1')
    await c.next()
  }
  assert.equal(c.snapshots.length, 21)
})

test('nor does a log that nobody reads any more', async t => {
  const readsOneLine = ['bash', '-c', 'exec "$@" 2> >(sed --unbuffered 1q >&2)', 'bash']
  const d = await daemon(t, ['--interval', '10', '-v'], { prefix: readsOneLine })
  const c = await client(t, d.ws)
  await c.received(1)
  for (let i = 0; i < 5; i++) await client(t, d.ws)
  await c.next()
})

test('a full pipe that nobody reads as its log stops nothing, and the log says what was lost', async t => {
  const path = join(folder(t), 'log')
  execFileSync('mkfifo', [path])
  const reader = openSync(path, constants.O_RDWR | constants.O_NONBLOCK)   // does not wait for a writer
  const writer = openSync(path, constants.O_WRONLY)                        // whose writes would wait
  t.after(() => { closeSync(reader); closeSync(writer) })
  const child = spawn(join(build, 'introspectd'), ['--no-sandbox', '--listen', '127.0.0.1:0', '-v'],
    { stdio: ['ignore', 'ignore', writer] })
  t.after(() => child.kill('SIGKILL'))
  const exit = once(child, 'exit')
  let log = ''
  const read = () => {
    for (const bytes = Buffer.alloc(4096); ;) {
      try {
        log += bytes.toString('latin1', 0, readSync(reader, bytes))
      } catch (error) {
        if (error.code !== 'EAGAIN') throw error
        return log
      }
    }
  }
  const logs = async pattern => {
    while (!pattern.test(read())) await delay(10)
    return log.match(pattern)
  }
  const fill = () => {
    try {
      for (;;) writeSync(reader, 'x'.repeat(4096))
    } catch (error) {
      if (error.code !== 'EAGAIN') throw error
    }
  }
  const [, port] = await logs(/^listening url=http:\/\/127\.0\.0\.1:(\d+)\/$/m)
  const refusals = async n => {
    for (let i = 0; i < n; i++) {
      const c = await connect(t, { port })
      c.send(request('GET / HTTP/1.1', { Host: 'h.example' }))
      await c.end()
      assert.equal(c.status, 403)
    }
  }
  fill()
  await refusals(100)
  child.kill('SIGUSR1')
  const c = await client(t, `ws://127.0.0.1:${port}`)
  await c.received(1)
  read()
  log = ''
  await refusals(1)
  const [, lost] = await logs(/^log_lost lines=(\d+)\nrefused status=403 /m)
  assert.ok(Number(lost) >= 101, `${lost} lines`)
  fill()
  await refusals(1)
  const start = performance.now()
  child.kill('SIGTERM')
  assert.deepEqual(await exit, [0, null])
  assert.ok(performance.now() - start < 20000)
  assert.equal((await c.closed).code, 1001)
})
