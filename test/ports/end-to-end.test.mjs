// A build for another machine serves the same bytes as the one for this machine, and their
// clients understand each other. NATIVE: the folder of the latter; RUNNER: what runs the
// former, e.g. qemu-s390x.
import assert from 'node:assert/strict'
import { execFileSync, spawn, spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import https from 'node:https'
import { createServer } from 'node:net'
import { join, resolve } from 'node:path'
import test from 'node:test'
import { commandClient } from '../integration/command-client.mjs'
import { build, client, daemon, folder, root, ServerMessage } from '../integration/daemon.mjs'
import { feedDaemon, node } from '../integration/feed-node.mjs'
import { connect, request } from '../integration/raw.mjs'
import { recording, save } from '../integration/recording.mjs'

const native = resolve(root, process.env.NATIVE)
const runner = process.env.RUNNER?.split(' ').filter(word => word) ?? []
const places = [native, build]
const BIG = '18446744073709551615'

// Every wire type, the extremes of the numbers, and all sizes of a frame's header.
const states = [0, 100, 2000, 200000].map((size, i) => ({
  instantTs: 1700000000000 + 700 * i,
  startTs: BIG,
  snapshotDurationMs: 4294967295,
  traffic: { trafficIn: { cumBytes: BIG, instBw: '4294967296' } },
  subsystems: {
    connections: [{
      id: Buffer.from([0, 1, 128, 255]),
      peerId: `peer ${i}`,
      status: 2,
      latencyNs: '4294967297',
      timeline: { openTs: '9007199254740993' },
      streams: { streams: [{ id: Buffer.from([i]), protocol: '/ü/€/𝄞' }] },
      limited: true
    }]
  },
  topics: [{ name: 'x'.repeat(size) }]
}))
const runtime = { runtime: { implementation: 'any', peerId: 'me', eventTypes: [{ name: 'Tick' }] } }
const delimited = message => Buffer.from(ServerMessage.encodeDelimited(ServerMessage.fromObject(message)).finish())

// What differs may be large, and is not to be printed.
const digest = bytes => `${bytes.length} ${createHash('sha256').update(bytes).digest('hex')}`

async function introspect (from, args) {
  const command = [...(from === build ? runner : []), join(from, 'introspect'), ...args]
  const child = spawn(command[0], command.slice(1), { stdio: ['ignore', 'pipe', 'pipe'] })
  let out = ''
  let err = ''
  child.stdout.on('data', data => { out += data })
  child.stderr.on('data', data => { err += data })
  const [code] = await once(child, 'close')
  assert.equal(code, 0, err)
  return out
}

// The sandbox cannot be had under qemu, which tells what was called instead.
const traced = log => runner.length > 0 ? { QEMU_STRACE: '1', QEMU_LOG_FILENAME: log } : {}

async function forbiddenCalls (d, log) {
  await d.stop()
  if (runner.length === 0) return []
  const allowed = new Set(readFileSync(join(root, 'guard/sandbox.c'), 'utf8').match(/(?<=SYS_)\w+/g))
  const lines = readFileSync(log, 'utf8').split('\n')
  const start = lines.findIndex(line => line.includes(' write(2,'))   // it is listening
  const names = lines.slice(start).flatMap(line => line.match(/(?<=^\d+ )\w+(?=\()/) ?? [])
  assert.ok(names.includes('read') && names.includes('close'), lines.at(-2))
  return [...new Set(names)].filter(name => !allowed.has(name))   // those in capitals are socketcall()
}

test('a recording', async t => {
  const path = save(t, recording(runtime, ...states.map(state => ({ state }))))
  const served = await Promise.all(places.map(async from => {
    const d = await daemon(t, ['--replay', path, '--interval', '10'], { from, expect: [/^replay_done states=4 skipped=0$/] })
    const c = await client(t, d.ws)
    await c.received(1)
    while (c.raw.length < states.length) await c.next(20000)
    return c.raw.map(digest)
  }))
  assert.equal(served[0].length, states.length)
  assert.deepEqual(served[1], served[0])
})

test('a feed, pulled and pushed', async t => {
  const served = await Promise.all(places.map(async from => {
    const log = join(folder(t), 'calls')
    const d = await feedDaemon(t, ['--interval', '10'], { from, env: traced(log) })
    const n = await node(t, d, i => delimited({ state: states[i - 1] }))
    n.socket.write(delimited(runtime))
    const c = await client(t, d.ws)
    await c.received(1)
    while (c.raw.length < states.length) await c.next(20000)

    const told = await commandClient(t, d.ws)
    await told.ok('HELLO')
    told.send('REQUEST', { source: 'RUNTIME' })
    await told.until(() => told.runtimes.length === 1)
    await told.ok('PUSH_ENABLE', { source: 'EVENTS' })
    n.socket.write(delimited({ event: { type: { name: 'Tick' }, ts: BIG, content: '{"n":1}' } }))
    await told.until(() => told.events.length === 1)
    if (from === build) assert.deepEqual(await forbiddenCalls(d, log), [])
    return [...c.raw, ...told.received.map(({ message }) => message)].map(digest)
  }))
  assert.equal(served[0].length, states.length + 4)
  assert.deepEqual(served[1], served[0])
})

test('the pages', async t => {
  const path = save(t, recording({ state: states[0] }))
  const served = await Promise.all(places.map(async from => {
    const d = await daemon(t, ['--replay', path, '--loop'], { from })
    const answers = []
    for (const page of ['/', '/app.js', '/introspection.proto', '/healthz', '/none']) {
      const c = await connect(t, { port: d.port })
      c.send(request(`GET ${page} HTTP/1.1`))
      await c.end()
      answers.push(c.head, digest(c.body))
    }
    return answers
  }))
  assert.match(served[0][0], /200 OK/)
  assert.deepEqual(served[1], served[0])
})

test('each client with each daemon', async t => {
  const path = save(t, recording(runtime, { state: states[2] }))
  const outputs = []
  for (const from of places) {
    const d = await daemon(t, ['--replay', path], { from, expect: [/^replay_done/] })
    for (const program of places) {
      const file = join(folder(t), `${outputs.length}.rec`)
      await introspect(program, ['--record', file, '--count', '1', d.host])
      outputs.push([await introspect(program, ['--json', '--count', '1', d.host]), digest(readFileSync(file))])
    }
  }
  assert.match(outputs[0][0], new RegExp(BIG))
  for (const output of outputs) assert.deepEqual(output, outputs[0])
})

test('TLS', async t => {
  const place = folder(t)
  const [key, cert] = ['key', 'cert'].map(name => join(place, name))
  execFileSync('openssl', ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes',
    '-keyout', key, '-out', cert, '-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost,IP:127.0.0.1'], { stdio: 'ignore' })
  const path = save(t, recording({ state: states[3] }))
  const log = join(place, 'calls')
  const d = await daemon(t, ['--replay', path, '--tls-cert', cert, '--tls-key', key],
    { expect: [/^replay_done/], env: traced(log) })
  const ca = readFileSync(cert)
  const c = await client(t, d.ws, { ca })
  assert.equal((await c.received(1, 20000)).state.topics[0].name, states[3].topics[0].name)
  const version = await new Promise((resolve, reject) => https.get(`${d.url}healthz`, { ca, agent: false }, response => {
    resolve(response.socket.getProtocol())
    response.resume()
  }).on('error', reject))
  assert.equal(version, process.env.TLS_VERSION ?? 'TLSv1.2')
  for (const program of places) {
    assert.match(await introspect(program, ['--json', '--count', '1', '--ca', cert, `wss://localhost:${d.port}`]), /peer 3/)
  }
  assert.deepEqual(await forbiddenCalls(d, log), [])
})

test('the kernel source', async t => {
  if (runner.length > 0) {   // qemu hands on no socket of this kind
    const [program, ...args] = [...runner, join(build, 'introspectd'), '--listen', '127.0.0.1:0']
    const { status, stderr } = spawnSync(program, args, { encoding: 'utf8' })
    assert.equal(status, 1)
    assert.match(stderr, /^error source=kernel reason="/m)
    return
  }
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.after(() => server.close())
  const { socket } = await connect(t, { port: server.address().port })
  const d = await daemon(t, ['--interval', '10'])
  const c = await client(t, d.ws)
  const { state } = await c.received(1)
  const address = `/ip4/127.0.0.1/tcp/${socket.localPort}`
  assert.ok(state.subsystems.connections.some(({ endpoints }) => endpoints.srcMultiaddr === address))
})
