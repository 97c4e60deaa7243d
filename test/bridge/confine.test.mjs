// What code inside the bridge could do, and could not.
import assert from 'node:assert/strict'
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import test from 'node:test'
import { folder, root } from '../integration/daemon.mjs'
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

// The names in a set of system calls of systemd, and in the sets in it.
function callsOf (listing, name) {
  const set = listing.match(new RegExp(`^${name}\\n((?: +.*\\n)+)`, 'm'))[1]
  return [...set.matchAll(/^ +(@?[\w-]+)$/gm)].flatMap(([, each]) => each.startsWith('@') ? callsOf(listing, each) : [each])
}

const { stdout: listing } = spawnSync('systemd-analyze', ['syscall-filter', '--no-pager'], { encoding: 'utf8' })

test('its unit allows the system calls that it makes', { skip: !listing && 'no systemd-analyze' }, async t => {
  const allowed = new Set()
  for (const [, not, names] of readFileSync(join(root, 'dist/introspect-bridge@.service'), 'utf8').matchAll(/^SystemCallFilter=(~?)(.*)$/gm)) {
    for (const name of names.split(' ').flatMap(name => name.startsWith('@') ? callsOf(listing, name) : [name])) not ? allowed.delete(name) : allowed.add(name)
  }
  const n = await fakeNode(t)
  const log = join(folder(t), 'calls')
  const child = spawn('strace', ['--follow-forks', '--quiet=all', '--output', log, `${plain}/introspect-bridge`, 'kubo', n.url.replace('127.0.0.1', 'localhost'), '--once'], { stdio: 'ignore' })
  assert.deepEqual(await once(child, 'exit'), [0, null])
  const made = new Set([...readFileSync(log, 'utf8').matchAll(/^\d+ +(\w+)\(/gm)].map(match => match[1]))
  assert.ok(made.has('landlock_restrict_self') || !landlock)
  assert.ok(made.has('connect'))
  made.delete('capset')   // a process of the unit has nothing to give up
  assert.deepEqual([...made].filter(call => !allowed.has(call)), [])
})
