// --networks and GET /networks: the operator's table of networks, checked and handed on.
import assert from 'node:assert/strict'
import { execFileSync, spawnSync } from 'node:child_process'
import { rmSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { join } from 'node:path'
import { test } from 'node:test'
import { build, daemon, folder, until } from './daemon.mjs'

const GOOD = '# made by hand\n192.0.2.0/24 AS64500 DE Example Net\n\n2001:db8::/32\t64501 -\r\n0.0.0.0/0\n::/0 - - everything else, Привет'

function table (t, text) {
  const file = join(folder(t), 'networks')
  writeFileSync(file, text)
  return file
}

// What a start with that file comes to.
const start = file => spawnSync(join(build, 'introspectd'), ['--listen', '127.0.0.1:0', '--no-sandbox', '--networks', file], { encoding: 'utf8', timeout: 20_000 })

// Sends SIGHUP and waits for one more line like that.
async function hangUp (d, pattern) {
  const seen = () => d.lines.filter(line => pattern.test(line))
  const before = seen().length
  process.kill(d.pid, 'SIGHUP')
  await until(d.child, 'line', () => seen().length > before)
  return seen().at(-1)
}

const get = d => fetch(`${d.url}networks`)

test('the file is served as it is, and read again on SIGHUP', async t => {
  const file = table(t, GOOD)
  const d = await daemon(t, ['--networks', file], { expect: [/^reloaded/, /^error networks/] })
  const answer = await get(d)
  assert.equal(answer.status, 200)
  assert.match(answer.headers.get('content-type'), /^text\/plain/)
  assert.equal(await answer.text(), GOOD)
  assert.equal((await fetch(`${d.url}networks`, { method: 'HEAD' })).headers.get('content-length'), String(Buffer.byteLength(GOOD)))
  assert.match(await (await fetch(d.url, { headers: { 'accept-encoding': 'identity' } })).text(), /\/networks /)
  for (const text of ['10.0.0.0/8 AS1 US\n', '', '11.0.0.0/8\n']) {
    writeFileSync(file, text)
    await hangUp(d, /^reloaded networks=/)
    assert.equal(await (await get(d)).text(), text)
  }
  writeFileSync(file, '12.0.0.0/8\n12.0.0.0/33\n')
  assert.match(await hangUp(d, /^error networks/), /^error networks=\S+ line=2 reason="begin it with a network such as /)
  assert.equal(await (await get(d)).text(), '11.0.0.0/8\n', 'what was read before stays')
})

test('a line that is none ends the start with one line that names it', async t => {
  for (const [line, wrong] of [
    ['192.0.2.0', 'begin it with a network'], ['192.0.2/24', 'begin it'], ['192.0.2.0/', 'begin it'], ['192.0.2.0/24x', 'begin it'],
    ['2001:db8::/129', 'begin it'], ['2001:db8::/0128', 'begin it'], ['fe80::1%eth0/64', 'begin it'], ['example.org/24', 'begin it'],
    ['192.0.2.0/24 ASN1', 'give its AS'], ['192.0.2.0/24 AS', 'give its AS'], ['192.0.2.0/24 AS12345678901', 'give its AS'],
    ['192.0.2.0/24 AS1 de', 'give a country'], ['192.0.2.0/24 AS1 DEU', 'give a country'], ['192.0.2.0/24 - Example', 'give a country'],
    [`192.0.2.0/24 AS1 DE ${'x'.repeat(240)}`, 'longer than 255 bytes'], ['192.0.2.0/24 AS1 DE a\0b', 'it has a byte 0']
  ]) {
    const file = table(t, `# one\n192.0.2.0/24 - - two\n${line}\n\n`)
    const { status, stderr } = start(file)
    assert.ok(stderr.startsWith(`error networks=${file} line=3 reason="`) && stderr.includes(wrong) && stderr.indexOf('\n') === stderr.length - 1, `${line}: ${stderr}`)
    assert.notEqual(status, 0)
  }
})

test('a file that is missing, or too large, is told', async t => {
  for (const [file, wrong] of [['/nowhere/networks', /error networks=\/nowhere\/networks reason="No such file/], ['/etc', /directory/],
    [table(t, '10.0.0.0/8\n'.repeat(400_000)), /it has more than 4 MiB/]]) {
    assert.match(start(file).stderr, wrong)
  }
})

test('a FIFO that nobody writes to holds nobody up: not at the start, nor on SIGHUP', async t => {
  const token = join(folder(t), 'token'), file = table(t, GOOD)
  writeFileSync(token, 'correct-horse.battery_staple~1\n', { mode: 0o600 })
  const d = await daemon(t, ['--networks', file, '--token-file', token], { expect: [/^error /] })
  for (const path of [file, token]) {
    rmSync(path)
    execFileSync('mkfifo', ['-m', '600', path])
  }
  assert.match(start(file).stderr, /^error networks=\S+ reason="No data available"\n$/)
  for (const options of [['--token-file', token], ['--tls-cert', token, '--tls-key', token]]) {
    const { status, stderr } = spawnSync(join(build, 'introspectd'), ['--listen', '127.0.0.1:0', '--no-sandbox', ...options], { encoding: 'utf8', timeout: 20_000 })
    assert.match(stderr, /^error .*(No data available|Illegal seek)/)
    assert.equal(status, 1)
  }
  assert.match(await hangUp(d, /^error networks/), /reason="No data available"/)
  await d.line(/^error token_file.*No data available/)
  const answer = await fetch(`${d.url}networks`, { headers: { authorization: 'Bearer correct-horse.battery_staple~1' } })
  assert.equal(await answer.text(), GOOD, 'what was read before stays')
})

test('who reads while the file changes gets what it was, and others what it is', async t => {
  const old = '10.0.0.0/8 AS1 US old\n'.repeat(150_000), file = table(t, old)
  const d = await daemon(t, ['--networks', file], { expect: [/^reloaded/, /^error networks/] })
  const socket = connect(d.port, '127.0.0.1')
  t.after(() => socket.destroy())
  socket.write('GET /networks HTTP/1.1\r\nHost: localhost\r\n\r\n')
  await new Promise(resolve => socket.once('readable', resolve))   // and no more than fits into buffers
  writeFileSync(file, '11.0.0.0/8\n')
  await hangUp(d, /^reloaded networks=/)
  assert.equal(await (await get(d)).text(), '11.0.0.0/8\n')
  writeFileSync(file, '12.0.0.0/8\n')
  await hangUp(d, /^error networks=\S+ reason="the one before the last is still being read: try again"/)
  let all = Buffer.alloc(0)
  for await (const part of socket) all = Buffer.concat([all, part])
  assert.equal(all.subarray(all.indexOf('\r\n\r\n') + 4).toString(), old)
  await hangUp(d, /^reloaded networks=/)
  assert.equal(await (await get(d)).text(), '12.0.0.0/8\n')
})

test('without the option there is none, and with a token it is for those who have it', async t => {
  assert.equal((await get(await daemon(t))).status, 404)
  const token = join(folder(t), 'token')
  writeFileSync(token, 'correct-horse.battery_staple~1\n', { mode: 0o600 })
  const d = await daemon(t, ['--networks', table(t, GOOD), '--token-file', token])
  assert.equal((await get(d)).status, 401)
  assert.equal((await fetch(`${d.url}networks`, { headers: { authorization: 'Bearer correct-horse.battery_staple~1' } })).status, 200)
})
