// The command line: what is told to whoever gets it wrong.
import assert from 'node:assert/strict'
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readFileSync, statSync, unlinkSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { dirname, join } from 'node:path'
import test from 'node:test'
import { build, client, daemon, folder, root } from './daemon.mjs'

const program = join(build, 'introspectd')

function run (...args) {
  const { status, stdout, stderr } = spawnSync(program, args, { encoding: 'utf8', timeout: 60000 })
  return { status, stdout, stderr }
}

const DURATION = 'a time from 1s to 365d, such as 90s, 30m, 24h or 7d'
const wrong = [
  [['--interval', '9'], '--interval 9: expected milliseconds from 10 to 3600000'],
  [['--interval', '3600001'], '--interval 3600001: expected milliseconds from 10 to 3600000'],
  [['--interval', ''], '--interval : expected milliseconds from 10 to 3600000'],
  [['--interval', '1s'], '--interval 1s: expected milliseconds from 10 to 3600000'],
  [['--interval', '-100'], '--interval -100: expected milliseconds from 10 to 3600000'],
  [['--interval', ' 100'], '--interval  100: expected milliseconds from 10 to 3600000'],
  [['--interval', '99999999999999999999'],
    '--interval 99999999999999999999: expected milliseconds from 10 to 3600000'],
  [['--max-clients', '0'], '--max-clients 0: expected a number from 1 to 100000'],
  [['--max-clients', '100001'], '--max-clients 100001: expected a number from 1 to 100000'],
  [['--max-clients', 'many'], '--max-clients many: expected a number from 1 to 100000'],
  [['--max-snapshot', '1023'], '--max-snapshot 1023: expected bytes from 1024 to 1073741824'],
  [['--max-snapshot', '1073741825'], '--max-snapshot 1073741825: expected bytes from 1024 to 1073741824'],
  [['--max-snapshot', '16M'], '--max-snapshot 16M: expected bytes from 1024 to 1073741824'],
  [['--ping', '0'], '--ping 0: expected seconds from 0.01 to 86400'],
  [['--ping', '86401'], '--ping 86401: expected seconds from 0.01 to 86400'],
  [['--ping', 'nan'], '--ping nan: expected seconds from 0.01 to 86400'],
  [['--ping', '5s'], '--ping 5s: expected seconds from 0.01 to 86400'],
  [['--drain', '-1'], '--drain -1: expected seconds from 0.01 to 86400'],
  [['--drain', ''], '--drain : expected seconds from 0.01 to 86400'],
  [['--pid', ''], '--pid : expected a process ID or a name'],
  [['--feed', ''], '--feed : expected a path or -'],
  [['--feed', 'x', '--feed-mode', '0888'], '--feed-mode 0888: expected an octal mode such as 0660'],
  [['--feed', 'x', '--feed-mode', '1777'], '--feed-mode 1777: expected an octal mode such as 0660'],
  [['--feed', 'x', '--feed-mode', 'rw'], '--feed-mode rw: expected an octal mode such as 0660'],
  [['--pid', '-5'], '--pid -5: expected a process ID or a name'],
  [['--pid', '0'], '--pid 0: expected a process ID or a name'],
  [['--pid', '4194305'], '--pid 4194305: expected a process ID or a name'],
  [['--feed-mode', '0660'], '--feed-mode goes with --feed PATH'],
  [['--feed', '-', '--feed-mode', '0660'], '--feed-mode goes with --feed PATH'],
  [['--allow-host', 'node.example:443'], '--allow-host node.example:443: expected node.example'],
  [['--allow-host', 'http://x'], '--allow-host http://x: expected x'],
  [['--allow-host', 'https://u@x.example:1/y'], '--allow-host https://u@x.example:1/y: expected x.example'],
  [['--allow-host', '*.example'], '--allow-host *.example: expected a host name such as node.example'],
  [['--allow-host', '[::1]:4801'], '--allow-host [::1]:4801: expected a host name such as node.example'],
  [['--allow-host', ''], '--allow-host : expected a host name such as node.example'],
  [['--allow-origin', 'https://x/'], '--allow-origin https://x/: expected https://x'],
  [['--allow-origin', 'https://x:443'], '--allow-origin https://x:443: expected https://x'],
  [['--allow-origin', 'HTTP://x:80/a?b'], '--allow-origin HTTP://x:80/a?b: expected http://x'],
  [['--allow-origin', 'example.org'], '--allow-origin example.org: expected https://example.org'],
  [['--allow-origin', 'example.org:8443'], '--allow-origin example.org:8443: expected https://example.org:8443'],
  [['--allow-origin', 'ws://x:4801/'], '--allow-origin ws://x:4801/: expected http://x:4801'],
  [['--allow-origin', '://x'], '--allow-origin ://x: expected http://x'],
  [['--allow-origin', 'wss://u:p@[::1]/'], '--allow-origin wss://u:p@[::1]/: expected https://[::1]'],
  [['--allow-origin', '*'], '--allow-origin *: expected an origin such as https://example.org'],
  [['--allow-origin', 'null'], '--allow-origin null: expected an origin such as https://example.org'],
  [['--allow-origin', 'https://' + 'x'.repeat(200) + '/'],
    `--allow-origin https://${'x'.repeat(200)}/: expected an origin such as https://example.org`],
  [['--allow-origin', 'https://' + 'x'.repeat(505)],
    `--allow-origin https://${'x'.repeat(505)}: expected an origin such as https://example.org`],
  [['--public-url', 'node.example'], '--public-url node.example: expected https://node.example'],
  [['--public-url', 'https://x/?a'], '--public-url https://x/?a: expected https://x'],
  [['--public-url', 'ftp://x'], '--public-url ftp://x: expected http://x'],
  [['--replay', ''], '--replay : expected a file'],
  [['--replay', 'x', '--pid', '1'], '--replay goes with neither --pid nor --feed'],
  [['--replay', 'x', '--feed', 'x'], '--replay goes with neither --pid nor --feed'],
  [['--udp', '--feed', 'x'], '--udp goes with --pid or with all connections of this machine'],
  [['--loop'], '--loop goes with --replay'],
  [['--history', '131071'], '--history 131071: expected bytes from 131072 to 1073741824'],
  [['--history', '1073741825'], '--history 1073741825: expected bytes from 131072 to 1073741824'],
  [['--remember', '24'], `--remember 24: expected ${DURATION}`],
  [['--remember', '1w'], `--remember 1w: expected ${DURATION}`],
  [['--remember', '0h'], `--remember 0h: expected ${DURATION}`],
  [['--remember', '366d'], `--remember 366d: expected ${DURATION}`],
  [['--remember', '-1h'], `--remember -1h: expected ${DURATION}`],
  [['--remember', '1h '], `--remember 1h : expected ${DURATION}`],
  [['--remember', '99999999999999999999h'], `--remember 99999999999999999999h: expected ${DURATION}`],
  [['--remember-bytes', '131071'], '--remember-bytes 131071: expected bytes from 131072 to 1073741824'],
  [['--remember', '1h', '--remember-every', '0'], '--remember-every 0: expected seconds from 0.01 to 86400'],
  [['--remember-every', '5'], '--remember-every and --remember-bytes go with --remember'],
  [['--remember-bytes', '131072'], '--remember-every and --remember-bytes go with --remember'],
  [['--tls-cert', 'x'], '--tls-cert goes with --tls-key'],
  [['--tls-key', 'x'], '--tls-cert goes with --tls-key'],
  [['--tls-client-ca', 'x'], '--tls-client-ca goes with --tls-cert'],
  [['--tls-cert', 'x', '--tls-key', 'y', '--listen', '/z'], '--tls-cert goes with a TCP address: Unix sockets have no TLS'],
  [['4801'], '4801: not an option: see --help'],
  [['--', '-v'], '-v: not an option: see --help'],
  [['--lisen', '127.0.0.1:4801'], '--lisen: no such option, or more than one that begins so: see --help'],
  [['--lisen=127.0.0.1:4801'], '--lisen=127.0.0.1:4801: no such option, or more than one that begins so: see --help'],
  [['-x'], '-x: no such option: see --help'],
  [['--listen=127.0.0.1:0', '-xv'], '-x: no such option: see --help'],
  [['-vx'], '-x: no such option: see --help'],
  [['--interval'], '--interval: needs a value: see --help'],
  [['--listen'], '--listen: needs a value: see --help'],
  [['-l'], '-l: needs a value: see --help'],
  [['-vl'], '-l: needs a value: see --help'],
  [['--loop=yes'], '--loop=yes: takes no value: see --help'],
  [['--verbose=yes'], '--verbose=yes: takes no value: see --help'],
  [['--ma', '5'], '--ma: no such option, or more than one that begins so: see --help']
]

test('a wrong option: one line that names it, status 2', () => {
  for (const [args, message] of wrong) {
    const { status, stdout, stderr } = run(...args)
    assert.equal(stderr, `introspectd: ${message}\n`)
    assert.equal(stdout, '')
    assert.equal(status, 2, args.join(' '))
  }
})

test('more of an option than there is room for', () => {
  const rows = [['--listen', '127.0.0.1:0', 16], ['--allow-host', 'x', 32], ['--allow-origin', 'http://x', 32]]
  for (const [option, value, most] of rows) {
    const { status, stderr } = run(...Array(most + 1).fill([option, value]).flat())
    assert.equal(stderr, `introspectd: ${option} ${value}: expected at most ${most} of them\n`)
    assert.equal(status, 2)
  }
})

test('--help, the man page and the README name every option, and its default, from the source', () => {
  const { status, stdout, stderr } = run('--help')
  assert.equal(status, 0)
  assert.equal(stderr, '')
  const source = ['options.c', 'all.c'].map(file => readFileSync(join(root, 'base', file), 'utf8')).join('')
  const names = [...source.matchAll(/(?:^\t\{"([a-z-]+)", (?:NULL|")|FILE_OPTION\("([a-z-]+)")/gm)]
  assert.ok(names.length > 25)
  const page = readFileSync(join(root, 'dist/introspectd.8'), 'utf8')
  const readme = readFileSync(join(root, 'README.md'), 'utf8')
  for (const name of names.map(([, plain, file]) => plain ?? file)) {
    assert.match(stdout, new RegExp(`--${name}\\b`))
    assert.match(page, new RegExp(`^\\.It .*Fl \\\\-${name}( |$)`, 'm'))
    if (!/^(help|version|verbose)$/.test(name)) assert.match(readme, new RegExp(`^\\|.*\`--${name}[ \`]`, 'm'))
  }
  assert.ok(stdout.includes('(default: 127.0.0.1:4801 and [::1]:4801)'))
  const header = readFileSync(join(root, 'base/options.h'), 'utf8')
  const defaults = [...header.matchAll(/DEFAULT_(\w+) = ([^,]+),/g)]
  assert.ok(defaults.length > 5)
  for (const [, name, value] of defaults) {
    const [a, b = 0] = value.split(' << ')
    const number = /^0\d/.test(value) ? value : a * 2 ** b / (/^(PING|DRAIN|REMEMBER_EVERY)_MS$/.test(name) ? 1000 : 1)
    assert.ok(stdout.includes(`(default: ${number})`), `${name} ${number}`)
    assert.match(page, new RegExp(`default is ${number}\\.$`, 'm'))
    assert.match(readme, new RegExp(`^\\|.*\\| \`${number}\` \\|$`, 'm'))
  }
  for (const line of stdout.split('\n')) assert.ok(line.length <= 80, line)
  assert.deepEqual(run('-h'), { status, stdout, stderr })
})

test('--version', () => {
  const { status, stdout, stderr } = run('--version')
  assert.deepEqual([status, stderr], [0, ''])
  assert.match(stdout, /^introspectd \d+\.\d+\.\d+\n$/)
})

test('the limits of every number are in', async t => {
  await daemon(t, ['--interval', '10', '--max-clients', '1', '--max-snapshot', '1024',
    '--ping', '0.01', '--drain', '0.01'])
  await daemon(t, ['--interval', '3600000', '--ping', '86400', '--drain', '86400'])
})

// Starts the daemon where it cannot listen and returns its only line.
function refused (...listen) {
  const { status, stderr } = run(...listen.flatMap(address => ['--listen', address]))
  assert.equal(status, 1)
  assert.match(stderr, /^.*\n$/)
  return stderr.trimEnd()
}

test('addresses nobody can listen on', async t => {
  const format = 'not HOST:PORT, [IPV6]:PORT or /PATH'
  for (const address of ['', ':', '4801:80', 'run/introspectd.sock', 'http://127.0.0.1:4801', '127.0.0.1:', '127.0.0.1:x', '127.0.0.1:-1',
    '::1', '::1:4801', '[::1', '[::1]4801', '[::1]:', '[]:4801']) {
    assert.equal(refused(address), `error listen=${address} reason="${format}"`)
  }
  for (const address of ['127.0.0.1:65536', '127.0.0.1:99999', '[::1]:123456', 'localhost:99999999999999999999']) {
    assert.equal(refused(address), `error listen=${address} reason="the port is over 65535"`)
  }
  const alone = 'a port alone: put 127.0.0.1: before it or, to let others in, 0.0.0.0:'
  for (const address of ['4801', ':4801']) assert.equal(refused(address), `error listen=${address} reason="${alone}"`)
  assert.match(refused('192.0.2.1:0'), /^error listen=192\.0\.2\.1:0 reason="Cannot assign requested address"$/)
  assert.match(refused('127.0.0.1:0', 'x:y:z'), /^error listen=x:y:z reason=/)
})

test('a port in use', async t => {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = `127.0.0.1:${server.address().port}`
  assert.equal(refused(address), `error listen=${address} reason="Address already in use"`)
  server.close()
})

test('a daemon that was there a moment ago does not keep its port', async t => {
  const d = await daemon(t)
  const c = await client(t, d.ws)
  await c.received(1)
  await d.stop()
  const again = await daemon(t, ['--listen', `127.0.0.1:${d.port}`])
  assert.equal(again.port, d.port)
})

test('Unix sockets', async t => {
  const path = join(folder(t), 'socket')
  await t.test('live: left alone', async t => {
    const d = await daemon(t, ['--listen', path])
    assert.equal(refused(path), `error listen=${path} reason="in use by another process"`)
    const c = await client(t, `ws+unix:${path}:/`)
    await c.received(1)
    await d.stop()
    assert.equal(existsSync(path), false)
  })
  await t.test('left behind: replaced', async t => {
    const stdio = ['ignore', 'ignore', 'pipe']
    const dead = spawn(program, ['--no-sandbox', '--listen', path], { stdio })
    await once(dead.stderr, 'data')
    dead.kill('SIGKILL')
    await once(dead, 'exit')
    assert.ok(statSync(path).isSocket())
    await daemon(t, ['--listen', path])
    const c = await client(t, `ws+unix:${path}:/`)
    await c.received(1)
  })
  await t.test('one that took its place meanwhile: left alone', async t => {
    const first = await daemon(t, ['--listen', path])
    unlinkSync(path)
    await daemon(t, ['--listen', path])
    await first.stop()
    const c = await client(t, `ws+unix:${path}:/`)
    await c.received(1)
  })
  await t.test('another kind of file: left alone', () => {
    writeFileSync(path, 'precious')
    assert.equal(refused(path), `error listen=${path} reason="exists and is not a socket"`)
    assert.equal(readFileSync(path, 'utf8'), 'precious')
  })
  await t.test('nowhere', () => {
    const nowhere = join(path, 'socket')
    assert.equal(refused(nowhere), `error listen=${nowhere} reason="Not a directory"`)
    const missing = join(dirname(path), 'missing/socket')
    assert.equal(refused(missing), `error listen=${missing} reason="its folder does not exist: make it first"`)
  })
  await t.test('a folder', () => {
    assert.equal(refused(dirname(path)), `error listen=${dirname(path)} reason="is a folder: name a socket in it"`)
  })
  await t.test('too long', () => {
    const long = `/${'x'.repeat(108)}`
    assert.equal(refused(long), `error listen=${long} reason="path over 107 bytes"`)
    assert.equal(existsSync(long), false)
  })
})

test('sources that cannot be opened', t => {
  const path = join(folder(t), 'missing')
  for (const [option, value, reason] of [['replay', path, 'No such file or directory'],
    ['feed', join(path, 'feed'), 'its folder does not exist: make it first'],
    ['feed', dirname(path), 'is a folder: name a socket in it']]) {
    const { status, stderr } = run('--listen', '127.0.0.1:0', `--${option}`, value)
    assert.equal(status, 1)
    assert.equal(stderr, `error ${option}=${value} reason="${reason}"\n`)
  }
})
