// What publishers/README.md shows for any language, in Python.
import assert from 'node:assert/strict'
import { execFileSync, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { connect } from 'node:net'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { test } from 'node:test'
import { collect, isTrue } from '../../publishers/contract/fields.mjs'
import { client, daemon, folder, root, schema } from './daemon.mjs'

const { values: Role } = schema.lookupEnum('introspection.Role')
const python = [process.env.PYTHON ?? 'python3', '/usr/bin/python3']
  .find(python => spawnSync(python, ['-c', 'import google.protobuf']).status === 0)

test('the Python example publishes its connections', {
  timeout: 180000,
  skip: python === undefined && 'no python3 with google.protobuf'
}, async t => {
  const path = folder(t)
  const feed = join(path, 'feed.sock')
  execFileSync('protoc', [`--python_out=${path}`, `--proto_path=${root}`, 'introspection.proto'])

  assert.equal(readFileSync(join(root, 'publishers/py-libp2p/introspectd_publisher/introspection_pb2.py'), 'utf8'),
    readFileSync(join(path, 'introspection_pb2.py'), 'utf8'), 'protoc makes another one of introspection.proto')

  // before the daemon is there
  const example = spawn(python, [join(root, 'publishers/python/example.py'), feed], {
    env: { ...process.env, PYTHONPATH: path, PYTHONDONTWRITEBYTECODE: '1' },
    stdio: ['ignore', 'pipe', 'pipe']
  })
  const exit = once(example, 'exit')
  t.after(() => example.kill('SIGKILL'))
  const [line] = await once(createInterface({ input: example.stdout }), 'line')
  const port = Number(line.match(/^listening on \/ip4\/127\.0\.0\.1\/tcp\/(\d+)$/)[1])
  const [said] = await once(createInterface({ input: example.stderr }), 'line')
  assert.match(said, /No such file or directory/)

  const d = await daemon(t, ['--feed', feed, '--interval', '20'], { expect: [/^feed_(connected|disconnected)$/] })
  const c = await client(t, d.ws)
  const { state: empty } = await c.received(1)
  assert.equal(empty.runtime.implementation, 'echo')
  assert.deepEqual(empty.subsystems?.connections ?? [], [])

  const socket = connect(port, '127.0.0.1')
  socket.write('x'.repeat(1000))
  let echoed = 0
  while (echoed < 1000) echoed += (await once(socket, 'data'))[0].length

  const { state } = await c.next()
  const { subsystems: { connections: [connection] } } = state
  const told = new Set()
  collect(told, state)
  isTrue('Python example', told)
  assert.equal(connection.role, Role.RESPONDER)
  assert.equal(connection.transportId.toString(), 'ip4+tcp')
  assert.equal(connection.endpoints.srcMultiaddr, `/ip4/127.0.0.1/tcp/${port}`)
  assert.equal(connection.endpoints.dstMultiaddr, `/ip4/127.0.0.1/tcp/${socket.localPort}`)
  assert.equal(Number(connection.traffic.trafficIn.cumBytes), 1000)
  assert.equal(Number(connection.traffic.trafficOut.cumBytes), 1000)

  socket.destroy()
  for (;;) {
    const { state } = await c.next()
    if (state.subsystems.connections.length === 0) break
  }

  example.kill('SIGINT')
  assert.deepEqual(await exit, [0, null])
})
