// What code inside the bridge could do, and could not.
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { resolve } from 'node:path'
import test from 'node:test'
import { root } from '../integration/daemon.mjs'
import { ask, fakeNode } from './fake.mjs'

const plain = resolve(root, process.env.BRIDGE_BUILD ?? 'build')
const attempt = name => spawnSync(`${plain}/test/bridge/trespass`, [name], { encoding: 'utf8' })
const landlock = spawnSync(`${plain}/test/bridge/trespass`, ['read-file'], { encoding: 'utf8' }).stdout !== 'done\n'

for (const name of ['execute', 'fork', 'bind', 'listen', 'signal', 'trace', 'code', 'late-code', 'remove', ...(process.arch === 'x64' ? ['x32'] : [])]) {
  test(`killed: ${name}`, () => {
    const { signal, stdout, stderr } = attempt(name)
    assert.equal(signal, 'SIGSYS', stdout + stderr)
  })
}

test('files are refused by Landlock', { skip: !landlock && 'a kernel without Landlock' }, () => {
  for (const name of ['write-file', 'read-file']) assert.equal(attempt(name).stdout, 'Permission denied\n', name)
})

test('what looking up names takes is allowed', () => {
  for (const name of ['read-hosts', 'thread']) assert.equal(attempt(name).stdout, 'done\n', name)
})

test('inside, the bridge asks a node by its name, and as another user', async t => {
  const n = await fakeNode(t)
  const url = n.url.replace('127.0.0.1', 'localhost')
  const { state, said } = await ask(t, 'kubo', url, { from: plain })
  assert.equal(said, '')
  assert.equal(state.subsystems.connections.length, 2)
  if (process.getuid() === 0) assert.equal((await ask(t, 'kubo', url, { from: plain }, '--user', 'nobody')).code, 0)
})
