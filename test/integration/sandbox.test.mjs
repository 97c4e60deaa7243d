// The daemon in its sandbox, as it is built for use: a sanitizer does more than the
// sandbox allows. SANDBOX_BUILD names the folder of that build.
import assert from 'node:assert/strict'
import { execFileSync, spawn, spawnSync } from 'node:child_process'
import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import { existsSync, mkdirSync, readFileSync, renameSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'node:test'

process.env.BUILD = process.env.SANDBOX_BUILD ?? 'build'
process.env.SANDBOX = '1'
const { build, client, daemon, folder, root, until } = await import('./daemon.mjs')
const { recording, save } = await import('./recording.mjs')
const { commandClient } = await import('./command-client.mjs')
const { encodeState, feedDaemon, node } = await import('./feed-node.mjs')
const { connect, handshake } = await import('./raw.mjs')

const program = join(build, 'introspectd')
const sanitized = existsSync(program) && /__asan_init/.test(readFileSync(program, 'latin1'))
const skip = !existsSync(program) ? `${program} has not been built`
  : sanitized ? `${program} has a sanitizer in it` : false
const asRoot = skip || (process.getuid() !== 0 && 'not root')
const sandboxed = (name, run) => test(name, { skip }, run)
const SHORT = ['--interval', '10']
const TOKEN = 'correct-horse.battery_staple~1'

const status = pid => Object.fromEntries(readFileSync(`/proc/${pid}/status`, 'utf8').split('\n')
  .map(line => line.split(/:\s+/)))

function hasLandlock () {
  const source = `#include <linux/landlock.h>
    #include <sys/syscall.h>
    #include <unistd.h>
    int main(void) { return syscall(SYS_landlock_create_ruleset, 0, 0, LANDLOCK_CREATE_RULESET_VERSION) < 1; }`
  return spawnSync('sh', ['-c', 'cc -xc - -o "$0" && "$0"; s=$?; rm -f "$0"; exit $s', join(tmpdir(), `landlock-${process.pid}`)],
    { input: source }).status === 0
}

const landlock = hasLandlock()

sandboxed('no new privileges, and a filter on what it calls', async t => {
  for (const options of [[], ['--feed', '-']]) {
    const d = await daemon(t, options, { expect: [/^feed_/] })
    const { NoNewPrivs, Seccomp, Seccomp_filters: filters = '2' } = status(d.pid) // since Linux 5.9
    assert.deepEqual([NoNewPrivs, Seccomp, filters], ['1', '2', '2'])
  }
  process.env.SANDBOX = ''
  const d = await daemon(t).finally(() => { process.env.SANDBOX = '1' })
  assert.equal(status(d.pid).Seccomp, '0')
})

sandboxed('the kernel source, all connections', async t => {
  const d = await daemon(t, ['-v', ...SHORT], { expect: [/^(open|clos|refused)/, /^slot /] })
  const c = await client(t, d.ws)
  for (let i = 0; i < 20; i++) await c.next()
  assert.ok(c.snapshots[0].state.subsystems.connections.every(({ endpoints }) => endpoints.srcMultiaddr))
  d.child.kill('SIGUSR1')
  await d.line(/^slot /)
  for (const path of ['', 'metrics', 'healthz', 'introspection.proto', 'none']) {
    await (await fetch(d.url + path)).text()
  }
  const bad = await connect(t, { port: d.port })
  bad.send('GARBAGE\r\n\r\n')
  await bad.end()
})

sandboxed('one process by its name, across a restart', async t => {
  const name = `node-${process.pid}`
  const path = join(folder(t), name)
  symlinkSync(process.execPath, path)
  const start = async () => {
    const child = spawn(path, ['-e', `
      const s = require('net').createServer().listen(0, '127.0.0.1', () => {
        require('net').connect(s.address().port, '127.0.0.1', () => console.log('up'))
      })`], { stdio: ['ignore', 'pipe', 'inherit'] })
    t.after(() => child.kill('SIGKILL'))
    await once(child.stdout, 'data')
    return child
  }
  const d = await daemon(t, ['--pid', name, ...SHORT], { expect: [/^(watching|gone|waiting) process=/] })
  const c = await client(t, d.ws)
  const shown = async pid => {
    for (let i = 0; i < 2000; i++) {
      const { state } = await c.next()
      if (state.subsystems.connections.some(({ userProvidedTags }) => userProvidedTags.includes(`pid=${pid}`))) return
    }
    assert.fail(`no connection of ${pid}`)
  }
  for (let i = 0; i < 2; i++) {
    const child = await start()
    await shown(child.pid)
    const gone = once(child, 'exit')
    child.kill('SIGKILL')
    await gone
  }
})

sandboxed('a feed whose node comes back', async t => {
  const d = await feedDaemon(t, SHORT)
  const c = await client(t, d.ws)
  for (let i = 0; i < 2; i++) {
    const n = await node(t, d, () => encodeState(1 << 20))
    await n.requested(1)
    await c.received(2 * i + 1)
    await c.next()
    n.socket.destroy()
    const gone = () => d.lines.filter(line => line === 'feed_disconnected').length > i
    await until(d.child, 'line', gone)
    c.ready()
  }
})

// A recording of a runtime and two states.
const recorded = t => save(t, recording({ runtime: { implementation: 'x' } }, { state: { instantTs: 1000 } },
  { state: { instantTs: 1100 } }))

sandboxed('a recording, again and again', async t => {
  const d = await daemon(t, ['--replay', recorded(t), '--loop', ...SHORT], { expect: [/^replay/] })
  const c = await client(t, d.ws)
  await c.received(1)
  for (let i = 0; i < 8; i++) await c.next()
})

sandboxed('the command protocol, refusals, a full house, large answers', async t => {
  const d = await daemon(t, ['--max-clients', '2', '-v', '--ping', '3', ...SHORT],
    { expect: [/^(open|clos|refused)/] })
  const c = await commandClient(t, d.ws)
  await c.ok('HELLO', { config: { stateSnapshotIntervalMs: 500 } })
  await c.ok('PUSH_ENABLE', { source: 'STATE' })
  await c.ok('PUSH_ENABLE', { source: 'EVENTS' })
  c.send('REQUEST', { source: 'RUNTIME' })
  await c.count('states', 2)
  await c.ok('PUSH_PAUSE', { source: 'STATE' })
  await c.ok('PUSH_RESUME', { source: 'STATE' })
  const pull = await client(t, d.ws)
  await pull.next()
  await once(pull.socket, 'ping')
  await assert.rejects(client(t, d.ws), /503/)
  const crowd = await Promise.all(Array.from({ length: 40 }, () => connect(t, { port: d.port }).catch(() => {})))
  crowd.forEach(raw => raw?.socket.destroy())
  for (const fields of [{ Host: 'evil.example' }, { Origin: 'http://evil.example' }]) {
    let raw
    do {   // until the crowd has left
      raw = await connect(t, { port: d.port })
      raw.send(handshake(fields))
      await raw.answered()
    } while (raw.status === 503)
    assert.equal(raw.status, 403)
  }
})

for (const source of ['kernel', 'feed']) sandboxed(`TLS, a token, a reload of both: ${source}`, async t => {
  const path = folder(t)
  execFileSync('openssl', ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes',
    '-keyout', 'key', '-out', 'cert', '-days', '30', '-subj', '/CN=localhost',
    '-addext', 'subjectAltName=IP:127.0.0.1'],
  { cwd: path, stdio: 'pipe' })
  writeFileSync(join(path, 'token'), TOKEN, { mode: 0o600 })
  // As certificates often are, one of them is a symbolic link to where it is renewed.
  mkdirSync(join(path, 'archive'))
  renameSync(join(path, 'cert'), join(path, 'archive/cert1'))
  symlinkSync('archive/cert1', join(path, 'cert'))
  const file = name => join(path, name)
  writeFileSync(file('networks'), '192.0.2.0/24 AS64500 DE Example\n')
  const d = await daemon(t, ['--tls-cert', file('cert'), '--tls-key', file('key'), '--token-file', file('token'), '--networks', file('networks'),
    '-v', ...SHORT, ...source === 'feed' ? ['--feed', join(path, 'feed')] : []], { expect: [/^(open|clos|refused|feed|wrong_token)/, /^error (tls|token_file|networks)=/] })
  const options = { ca: readFileSync(file('cert')), headers: { Authorization: `Bearer ${TOKEN}` } }
  const c = await client(t, d.ws, options)
  if (source === 'feed') await node(t, { feed: join(path, 'feed') })
  for (let i = 0; i < 10; i++) await c.next()
  await assert.rejects(client(t, d.ws, { ca: options.ca }), /401/)
  await assert.rejects(client(t, d.ws, { headers: options.headers }))
  d.child.kill('SIGHUP')
  await (await client(t, d.ws, options)).next()
  await (await client(t, d.ws, options)).next()
  writeFileSync(join(path, 'archive/cert2'), 'nothing')
  symlinkSync('archive/cert2', file('new'))
  renameSync(file('new'), file('cert'))
  d.child.kill('SIGHUP')
  await d.line(/^error tls=".*archive|^error tls=".*cert: X509/)
  writeFileSync(file('token'), 'short')
  d.child.kill('SIGHUP')
  await d.line(/^error token_file=/)
  await (await client(t, d.ws, options)).next()
  writeFileSync(file('networks'), 'nothing')
  d.child.kill('SIGHUP')
  await d.line(/^error networks=.* line=1 /)
})

sandboxed('a Unix socket is removed at the end', async t => {
  const path = join(folder(t), 'socket')
  const d = await daemon(t, ['--listen', path])
  const c = await client(t, `ws+unix://${path}:/`)
  await c.next()
  assert.equal((await d.stop()).code, 0)
  assert.equal(existsSync(path), false)
})

// What the loop calls, C libraries make different system calls of. Kernel headers are
// those of this machine, behind the library's own.
const headers = ['-idirafter', '/usr/include', '-idirafter', `/usr/include/${execFileSync('cc', ['-print-multiarch'],
  { encoding: 'utf8' }).trim()}`]
const flags = ['-std=c11', '-D_GNU_SOURCE', '-D_FILE_OFFSET_BITS=64', '-D_TIME_BITS=64', '-O2', `-I${root}`]
const sources = ['guard/sandbox.c', 'base/log.c', 'source/holders.c', 'source/process.c'].map(name => join(root, name))
const compilers = { cc: ['cc'], 'cc with 32 bits': ['cc', '-m32'], musl: ['musl-gcc'] }

// Every call that is on the list of sandbox.c, as numbers for a program of this compiler.
const listed = [...new Set(readFileSync(join(root, 'guard/sandbox.c'), 'utf8').match(/(?<=SYS_)\w+/g))]
const numbers = `#include <stdio.h>
  #include <sys/syscall.h>
  int main(void) {
  ${listed.map(name => `
  #ifdef SYS_${name}
    printf("native %ld\\n", (long)SYS_${name});
  #endif`).join('')}
    return 0;
  }`

for (const [name, [cc, ...options]] of Object.entries(compilers)) {
  const { status } = spawnSync(cc, [...options, '-x', 'c', '-', '-o', '/dev/null'], { input: 'int main(void) { return 0; }' })
  const skip = status !== 0 && `no ${[cc, ...options].join(' ')}`
  const build = (out, input, source) =>
    execFileSync(cc, [...options, ...flags, ...headers, ...sources, ...source, '-o', out], { input })

  test(`what the C library calls for it: ${name}`, { skip }, t => {
    const path = folder(t)
    const built = join(path, 'sandboxed')
    writeFileSync(join(path, 'token'), `${TOKEN}\n`)
    build(built, '', [join(root, 'test/integration/sandboxed.c')])
    const { stdout, stderr, signal } = spawnSync(built, [path], { encoding: 'utf8', timeout: 60000 })
    assert.deepEqual({ stdout, stderr, signal }, { stdout: 'done\n', stderr: '', signal: null })
  })

  test(`whatever is forbidden ends the process, by every road: ${name}`, { skip }, t => {
    const path = folder(t)
    const built = join(path, 'trespass')
    build(built, '', [join(root, 'test/integration/trespass.c')])
    const run = how => {
      const { stdout, stderr, signal } = spawnSync(built, [path, how], { encoding: 'utf8', timeout: 120000 })
      assert.deepEqual({ stderr, signal }, { stderr: '', signal: null })
      return stdout.trim().split('\n')
    }
    mkdirSync(join(path, 'home'))
    // The attempts are real: without the sandbox they succeed, but for two that never could.
    const free = run('free')
    const vain = ['connect by fast open alone', 'send with the flag of fast open']
    assert.deepEqual(free.filter(line => !line.endsWith(' done')), vain.map(what => `${what} refused`))
    const isCall = line => /^(native|x32|i386) \d+$/.test(line)
    const expected = exceptions => free.map(line => line.replace(/ \w+$/, ''))
      .map(what => `${what} ${exceptions[what] ?? 'killed'}`)
    // The arguments of socketcall(), by which glibc makes the calls of sockets on i386, stand
    // in memory, where the filter cannot see them: none of those it allows takes an address.
    const ours = {
      'end a connection of others': 'refused',
      ...options.includes('-m32') && { 'send with the flag of fast open': 'refused', 'stop listening': 'done' }
    }
    const open = { read: 'done', 'list a folder': 'done', 'read the memory of others': 'done', 'read the token again': 'done' }
    const lines = run('kernel')
    assert.deepEqual(lines.filter(line => !isCall(line)), expected({ ...ours, ...open }))
    const closed = {
      read: 'refused',
      'list a folder': 'refused',
      'read the memory of others': 'refused',
      'read the token again': 'done',
      'signal through a descriptor': 'refused',
      lease: 'refused',
      lock: 'refused',
      remove: 'refused',
      'remove by descriptor': 'refused'
    }
    if (landlock) assert.deepEqual(run('feed'), expected({ ...ours, ...closed }))
    // By number: nothing but what is listed, and nothing at all as x32 or, on x86-64, as i386.
    const ask = join(path, 'numbers')
    build(ask, numbers, ['-x', 'c', '-'])
    // uretprobe and uprobe, whose only use is where the kernel put them, pass every filter.
    const allowed = new Set(execFileSync(ask, { encoding: 'utf8' }).trim().split('\n')
      .concat(process.arch === 'x64' && !options.includes('-m32') ? ['native 335', 'native 336'] : []))
    const passed = lines.filter(isCall)
    assert.ok(passed.length > 20, lines.join(' '))
    assert.deepEqual(passed.filter(line => !allowed.has(line)), [])
  })
}

// Within accept4(), which the loop calls when the first client comes, it does what
// FORBIDDEN says, before the eyes of the filter.
const trespasser = `
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

static char page[4096];
static char others[64];

__attribute__((constructor)) static void begin(void)
{
	snprintf(others, sizeof others, "/proc/%d/fd/0", getppid());
}

int accept4(int fd, struct sockaddr *peer, socklen_t *len, int flags)
{
	const char *what = getenv("FORBIDDEN"), *file = getenv("TARGET");
	struct sockaddr_un un = {.sun_family = AF_UNIX};

	if (strcmp(what, "execve") == 0)
		execl("/bin/true", "true", (char *)0);
	else if (strcmp(what, "write") == 0)
		open(file, O_WRONLY);
	else if (strcmp(what, "create") == 0)
		open(file, O_RDONLY | O_CREAT, 0600);
	else if (strcmp(what, "connect") == 0)
		connect(fd, (struct sockaddr *)&un, sizeof un);
	else if (strcmp(what, "kill") == 0)
		kill(getppid(), 0);
	else if (strcmp(what, "map code") == 0)
		mmap(0, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	else if (strcmp(what, "remove") == 0)
		unlink(others);
	else if (strcmp(what, "remove at") == 0)
		unlinkat(AT_FDCWD, others, 0);
	else if (strcmp(what, "look") == 0 && readlinkat(AT_FDCWD, others, page, sizeof page) < 0)
		_exit(42);
	else if (strcmp(what, "read") == 0)
		close(open(file, O_RDONLY));
	return (int)syscall(SYS_accept4, fd, peer, len, flags);
}
`

sandboxed('what the loop never does ends the process', async t => {
  const path = folder(t)
  const library = join(path, 'trespasser.so')
  const target = join(path, 'target')
  writeFileSync(target, 'x')
  const compiled = spawnSync('cc', ['-shared', '-fPIC', '-x', 'c', '-', '-o', library],
    { input: trespasser, encoding: 'utf8' })
  assert.equal(compiled.status, 0, compiled.stderr)
  const run = async (what, options = []) => {
    const child = spawn(program, ['--listen', '127.0.0.1:0', ...options], {
      stdio: ['ignore', 'ignore', 'pipe'],
      env: { ...process.env, LD_PRELOAD: library, FORBIDDEN: what, TARGET: target }
    })
    t.after(() => child.kill('SIGKILL'))
    const exit = once(child, 'exit')
    let said = ''
    child.stderr.on('data', text => { said += text })
    await until(child.stderr, 'data', () => /url=\S+\n/.test(said))
    const url = said.match(/url=(\S+)/)[1]
    const answer = await fetch(`${url}healthz`).then(response => response.text(), () => null)
    if (answer !== null) child.kill('SIGTERM')
    const [code, signal] = await exit
    return { answered: answer !== null, code, signal }
  }
  for (const what of ['execve', 'write', 'create', 'connect', 'kill', 'map code', 'remove', 'remove at']) {
    assert.deepEqual(await run(what), { answered: false, code: null, signal: 'SIGSYS' }, what)
  }
  for (const [what, ...options] of [['read'], ['look'], ['nothing'], ['remove', '--listen', join(path, 'socket')]]) {
    assert.deepEqual(await run(what, options), { answered: true, code: 0, signal: null }, what)
  }
  // Landlock is there for the sources that read no /proc: whom it confines cannot look
  // into other processes, as cannot a root that has given up its capabilities.
  const feed = ['--feed', join(path, 'feed')]
  assert.deepEqual(await run('look', feed), landlock || process.getuid() === 0
    ? { answered: false, code: 42, signal: null }
    : { answered: true, code: 0, signal: null })
  // The library does what it says: without the sandbox nobody minds.
  for (const [what, ...options] of [['create', ...feed], ['look']]) {
    assert.deepEqual(await run(what, ['--no-sandbox', ...options]), { answered: true, code: 0, signal: null })
  }
})

// CAP_DAC_READ_SEARCH and CAP_SYS_PTRACE, without which the kernel does not say whose sockets
// they are; feeds and recordings need none. With or without the sandbox.
test('of root it keeps what its source needs', { skip: asRoot }, async t => {
  const NONE = '0000000000000000'
  const sources = [['0000000000080004', () => []],
    [NONE, () => ['--feed', join(folder(t), 'feed')]], [NONE, () => ['--replay', recorded(t)]]]
  for (const sandbox of ['1', '']) {
    process.env.SANDBOX = sandbox
    for (const [kept, source] of sources) {
      const options = source()
      const d = await daemon(t, options, { expect: [/^replay/] }).finally(() => { process.env.SANDBOX = '1' })
      const is = status(d.pid)
      for (const set of ['CapPrm', 'CapEff', 'CapBnd']) assert.equal(is[set], kept, `${set} ${options}`)
      for (const set of ['CapInh', 'CapAmb']) assert.equal(is[set], NONE, `${set} ${options}`)
    }
  }
})

// As the units start it.
test('what counts QUIC needs rights at the start alone', { skip: asRoot }, async t => {
  const only = '-all,+net_raw,+bpf'
  const d = await daemon(t, SHORT, {
    prefix: ['setpriv', '--reuid=65534', '--regid=65534', '--clear-groups', '--no-new-privs',
      `--bounding-set=${only}`, `--inh-caps=${only}`, `--ambient-caps=${only}`]
  })
  const is = status(d.pid)
  for (const set of ['CapPrm', 'CapEff', 'CapInh', 'CapAmb']) assert.equal(is[set], '0000000000000000', set)
  const c = await client(t, d.ws)
  await c.next()
  const [from, to] = [createSocket('udp4').bind(0, '127.0.0.1'), createSocket('udp4').bind(0, '127.0.0.1')]
  t.after(() => { from.close(); to.close() })
  await Promise.all([once(from, 'listening'), once(to, 'listening')])
  await new Promise(resolve => from.send(Buffer.from('c00000000100000000000000', 'hex'), to.address().port, '127.0.0.1', resolve))
  const end = `/udp/${from.address().port}/quic-v1`
  const shown = async () => (await c.next()).state.subsystems.connections.some(({ endpoints }) => endpoints.srcMultiaddr.endsWith(end))
  let tries = 0
  while (!await shown()) assert.ok(++tries < 2000, 'never shown')
})

// What root read at the start, in a folder that the user may not enter, is only not read again.
test('a token that the user cannot reach', { skip: asRoot }, async t => {
  const path = folder(t)   // of mode 0700
  writeFileSync(join(path, 'token'), TOKEN, { mode: 0o600 })
  const d = await daemon(t, ['--user', 'nobody', '--token-file', join(path, 'token'), '--feed', join(path, 'feed')],
    { expect: [/^error token_file=.* reason="Permission denied/, /^feed/] })
  const n = await node(t, { feed: join(path, 'feed') })
  const c = await client(t, d.ws, { headers: { Authorization: `Bearer ${TOKEN}` } })
  await n.requested(1)
  await c.received(1)
  d.child.kill('SIGHUP')
  await d.line(/^error token_file=/)
  c.ready()
  await c.received(2)
})

// As root the kernel source still names the processes of others.
test('the processes of other users, with no more than that', { skip: asRoot }, async t => {
  const child = spawn(process.execPath, ['-e', `
    const s = require('net').createServer().listen(0, '127.0.0.1', () => {
      require('net').connect(s.address().port, '127.0.0.1', () => console.log('up'))
    })`], { stdio: ['ignore', 'pipe', 'inherit'], uid: 65534, gid: 65534 })
  t.after(() => child.kill('SIGKILL'))
  await once(child.stdout, 'data')
  const d = await daemon(t, SHORT)
  const c = await client(t, d.ws)
  const { state } = await c.received(1)
  assert.ok(state.subsystems.connections.some(({ userProvidedTags: tags }) => tags?.includes(`pid=${child.pid}`)))
})

// What every user of the machine could read of a process of its own user, or find in a core
// file, is root's.
test('its memory is its own', { skip: asRoot }, async t => {
  const owner = { uid: 65534, gid: 65534 }
  const start = async options => {
    const child = spawn(program, ['--listen', '127.0.0.1:0', ...options], { stdio: ['ignore', 'ignore', 'pipe'], ...owner })
    t.after(() => child.kill('SIGKILL'))
    let said = ''
    child.stderr.on('data', text => { said += text })
    await until(child.stderr, 'data', () => said.includes('listening '))
    assert.match(readFileSync(`/proc/${child.pid}/limits`, 'utf8'), /^Max core file size +0 +0 /m)
    return statSync(`/proc/${child.pid}/mem`).uid
  }
  assert.equal(await start([]), 0)
  assert.equal(await start(['--no-sandbox']), owner.uid)
})

test('it becomes another user, and none that does not exist', { skip: asRoot }, async t => {
  const id = option => execFileSync('id', [option, 'nobody'], { encoding: 'utf8' }).trim()
  const [uid, gid, groups] = ['-u', '-g', '-G'].map(id)
  const d = await daemon(t, ['--user', 'nobody', ...SHORT])
  const is = status(d.pid)
  assert.equal(is.Uid, Array(4).fill(uid).join('\t'))
  assert.equal(is.Gid, Array(4).fill(gid).join('\t'))
  assert.deepEqual(is.Groups.trim().split(' ').sort(), groups.split(' ').sort())
  for (const set of ['CapInh', 'CapPrm', 'CapEff', 'CapBnd', 'CapAmb']) assert.equal(is[set], '0000000000000000', set)
  const c = await client(t, d.ws)
  await c.next()
  const { status: code, stderr } = spawnSync(program, ['--listen', '127.0.0.1:0', '--user', 'nonexistent'],
    { encoding: 'utf8', timeout: 60000 })
  assert.deepEqual([code, stderr], [1, 'error user=nonexistent reason="no such user"\n'])
})
