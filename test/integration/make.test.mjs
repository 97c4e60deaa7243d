// What make does with flags and tools that are missing or change.
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'node:test'
import { folder, root } from './daemon.mjs'

const { MAKEFLAGS, MAKELEVEL, MFLAGS, ...env } = process.env
const make = (args, more = {}) => spawnSync('make', args, { cwd: root, encoding: 'utf8', env: { ...env, ...more } })

test('nothing but a build runs a compiler', t => {
  const path = folder(t)
  const compiler = join(path, 'compiler')
  writeFileSync(compiler, `#!/bin/sh\ntouch ${path}/ran\n`)
  chmodSync(compiler, 0o755)
  for (const goal of ['clean', 'deps', 'test-deps']) {
    const { status, stderr } = make(['-n', goal, `BUILD=${path}/b`, `CC=${compiler}`, `PKG_CONFIG=${compiler}`, 'SUDO='])
    assert.deepEqual({ status, stderr }, { status: 0, stderr: '' })
  }
  assert.ok(!existsSync(join(path, 'ran')))
})

test('an object is built again when the flags are others, and only then', t => {
  const path = folder(t)
  const object = join(path, 'base/log.o')
  const built = (...args) => {
    const before = statSync(object, { throwIfNoEntry: false })?.mtimeMs
    const { status, stderr } = make([`BUILD=${path}`, object, ...args])
    assert.equal(status, 0, stderr)
    return statSync(object).mtimeMs !== before
  }
  assert.deepEqual([[], [], ['TLS=0'], ['TLS=0'], ['STATIC=1'], [], ['HARDEN='], ['HARDEN=']].map(args => built(...args)),
    [true, false, true, false, true, true, true, false])
  assert.doesNotMatch(readFileSync(join(path, 'cflags'), 'utf8'), /-protection/)
})

test('a linker that warns of a flag is not given it', t => {
  const path = folder(t)
  const linker = join(path, 'cc')
  writeFileSync(linker, '#!/bin/sh\ncase "$*" in *--fatal-warnings*relocs*) exit 1;; *) exec cc "$@"; esac\n')
  chmodSync(linker, 0o755)
  assert.equal(make([`BUILD=${path}`, `CC=${linker}`, `${path}/ldflags`]).status, 0)
  assert.doesNotMatch(readFileSync(join(path, 'ldflags'), 'utf8'), /relocs/)
})

test('a tool that is missing is named', t => {
  for (const tool of ['CC', 'HOSTCC', 'PKG_CONFIG']) {
    const path = folder(t)
    const { status, stderr } = make([`BUILD=${path}`, `${tool}=no-such-tool of-this`, `${path}/cflags`])
    assert.equal(status, 2)
    assert.match(stderr, /^there is no no-such-tool: make deps installs what is needed$/m)
  }
})

test('with -j, too, nothing is built before all is installed', t => {
  const path = folder(t)
  const sudo = join(path, 'sudo')
  writeFileSync(sudo, `#!/bin/sh\nsleep 0.2\ntest ! -e ${path}/cflags && echo installed >> ${path}/log\n`)
  chmodSync(sudo, 0o755)
  const { status, stderr } = make(['-j4', 'deps', `${path}/cflags`, `BUILD=${path}`, `SUDO=${sudo}`])
  assert.equal(status, 0, stderr)
  assert.equal(readFileSync(join(path, 'log'), 'utf8'), 'installed\ninstalled\n')
})

test('neither root nor sudo: it says so', t => {
  const path = folder(t)
  writeFileSync(join(path, 'id'), '#!/bin/sh\necho 1000\n')
  chmodSync(join(path, 'id'), 0o755)
  symlinkSync('/usr/bin/make', join(path, 'make'))
  const { status, stderr } = make(['-n', 'deps'], { PATH: path })
  assert.deepEqual([status, stderr.match(/\*\*\* (.*?)\./)?.[1]],
    [2, 'make deps installs packages: install sudo, or run it as root'])
})

test('what is installed is removed again, and nothing else', t => {
  const path = folder(t)
  const installed = [`BUILD=${path}/build`, `DESTDIR=${path}/all`, 'PREFIX=/usr', 'UNITDIR=/lib/systemd/system']
  const files = () => readdirSync(join(path, 'all'), { recursive: true, withFileTypes: true })
    .filter(entry => !entry.isDirectory()).map(entry => entry.name)
  mkdirSync(join(path, 'build'))
  for (const program of ['introspectd', 'introspect', 'introspect-bridge']) writeFileSync(join(path, 'build', program), '')
  // The programs are as good as built.
  const { status, stderr } = make(['-o', 'all', '-o', 'bridge', 'install', 'install-bridge', ...installed])
  assert.deepEqual({ status, stderr }, { status: 0, stderr: '' })
  assert.equal(files().length, 10)
  writeFileSync(join(path, 'all/usr/bin/other'), '')
  for (let i = 0; i < 2; i++) assert.equal(make(['uninstall', ...installed]).status, 0)
  assert.deepEqual(files(), ['other'])
  assert.ok(!existsSync(join(path, 'all/usr/share/introspectd')))
})
