// HTTP on the same port, asked by curl.
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'node:test'
import { promisify } from 'node:util'
import { client, daemon, folder, root } from './daemon.mjs'
import { connect, request } from './raw.mjs'

const run = promisify(execFile)
const HOUR = ['--interval', '3600000']

// status, headers (names in lower case) and body of an answer.
async function curl (...args) {
  const { stdout } = await run('curl',
    ['--silent', '--show-error', '--max-time', '10', '--include', ...args], { encoding: 'buffer' })
  const end = stdout.indexOf('\r\n\r\n')
  const [first, ...lines] = stdout.subarray(0, end).toString().split('\r\n')
  const headers = Object.fromEntries(lines.map(line => {
    const [, name, value] = line.match(/^(.*?): (.*)$/)
    return [name.toLowerCase(), value]
  }))
  return { status: Number(first.split(' ')[1]), headers, body: stdout.subarray(end + 4) }
}

test('pages', async t => {
  const d = await daemon(t, HOUR)
  await t.test('for a terminal', async () => {
    const { status, headers, body } = await curl(d.url)
    assert.equal(status, 200)
    assert.equal(headers['content-type'], 'text/plain; charset=utf-8')
    assert.match(body.toString(), new RegExp(`ws://${d.host}/`))
  })
  await t.test('for a browser', async () => {
    const { status, headers, body } = await curl('--compressed', d.url)
    assert.equal(status, 200)
    assert.match(headers['content-type'], /^text\/html/)
    assert.match(body.toString(), /<html/)
  })
  await t.test('health', async () => {
    const { status, body } = await curl(`${d.url}healthz`)
    assert.equal(status, 200)
    assert.equal(body.toString(), 'ok\n')
  })
  await t.test('schema', async () => {
    const { status, body } = await curl(`${d.url}introspection.proto`)
    assert.equal(status, 200)
    assert.deepEqual(body, readFileSync(join(root, 'introspection.proto')))
  })
  await t.test('a query is nobody\'s business', async () => {
    assert.equal((await curl(`${d.url}healthz?verbose=1`)).status, 200)
  })
  await t.test('nothing else', async () => {
    for (const path of ['nothing', 'healthz/', 'etc/passwd', '../etc/passwd', '%2e%2e/etc/passwd',
      'introspection.prot']) {
      const { status, body } = await curl('--path-as-is', `${d.url}${path}`)
      assert.equal(status, 404, path)
      assert.match(body.toString(), /^404 Not Found: /)
    }
  })
})

test('what every answer says', async t => {
  const d = await daemon(t, HOUR)
  for (const path of ['', 'healthz', 'introspection.proto', 'nothing']) {
    const { headers, body } = await curl(`${d.url}${path}`)
    assert.equal(Number(headers['content-length']), body.length, path)
    assert.equal(headers.connection, 'close')
    assert.equal(headers['x-content-type-options'], 'nosniff')
    assert.equal(headers['referrer-policy'], 'no-referrer')
    assert.match(headers['content-security-policy'], /default-src 'none'.*frame-ancestors 'none'; require-trusted-types-for 'script'/)
    assert.equal(headers['access-control-allow-origin'], undefined)
  }
})

test('methods', async t => {
  const d = await daemon(t, HOUR)
  const get = await curl(`${d.url}introspection.proto`)
  const head = await curl('--head', `${d.url}introspection.proto`)
  assert.equal(head.status, 200)
  assert.equal(head.body.length, 0)
  assert.equal(head.headers['content-length'], get.headers['content-length'])
  assert.equal((await curl('--head', `${d.url}nothing`)).status, 404)
  for (const args of [['--data', 'x'.repeat(100000)], ['--request', 'PUT'], ['--request', 'DELETE'],
    ['--request', 'OPTIONS'], ['--request', 'BREW']]) {
    const { status, headers } = await curl(...args, d.url)
    assert.equal(status, 405, args[1].slice(0, 10))
    assert.equal(headers.allow, 'GET, HEAD')
  }
})

test('HEAD has no body', async t => {
  const d = await daemon(t, HOUR)
  for (const path of ['/', '/healthz', '/introspection.proto', '/nothing']) {
    const c = await connect(t, { port: d.port })
    c.send(request(`HEAD ${path} HTTP/1.1`, { 'Accept-Encoding': 'gzip' }))
    await c.end()
    assert.ok(Number(c.field('Content-Length')) > 0)
    assert.equal(c.body, '')
  }
})

test('older and other ways to ask', async t => {
  const path = join(folder(t), 'socket')
  const d = await daemon(t, [...HOUR, '--listen', '127.0.0.1:0', '--listen', '[::1]:0', '--listen', path])
  const six = (await d.line(/\[::1\]/)).split('=')[1]
  assert.equal((await curl('--http1.0', `${d.url}healthz`)).status, 200)
  assert.equal((await curl('--http2', `${d.url}healthz`)).status, 200)
  assert.equal((await curl(`${six}healthz`)).status, 200)
  assert.equal((await curl('--unix-socket', path, 'http://localhost/healthz')).status, 200)
  assert.equal((await curl('--header', 'Host:', `${d.url}healthz`)).status, 400)
})

test('a page of elsewhere reads nothing', async t => {
  const d = await daemon(t, [...HOUR, '-v'], { expect: [/^refused /, /^closed /] })
  for (const path of ['', 'healthz', 'introspection.proto', 'nothing']) {
    assert.equal((await curl('--header', 'Origin: http://evil.example', `${d.url}${path}`)).status, 403)
    assert.equal((await curl('--header', 'Host: evil.example', `${d.url}${path}`)).status, 403)
  }
  const { status } = await curl('--resolve', `node.example:${d.port}:127.0.0.1`,
    `http://node.example:${d.port}/healthz`)
  assert.equal(status, 403)
})

test('a client that sends no more after its request gets the whole answer', async t => {
  const d = await daemon(t, HOUR)
  const c = await connect(t, { port: d.port, lingers: true })
  c.socket.end(request('GET /introspection.proto HTTP/1.1'))
  await c.end()
  assert.equal(c.body.length, Number(c.field('Content-Length')))
})

test('what is sent behind a request does not destroy the answer', async t => {
  const d = await daemon(t, HOUR)
  const c = await connect(t, { port: d.port })
  c.send(request('GET /introspection.proto HTTP/1.1'), Buffer.alloc(300000, 'x'))
  await c.end()
  assert.equal(c.error, undefined)
  assert.equal(c.body.length, Number(c.field('Content-Length')))
})

test('asking takes no snapshot', async t => {
  const d = await daemon(t, ['--interval', '10'])
  const c = await client(t, d.ws)
  await c.received(1)
  for (let i = 0; i < 5; i++) await curl(`${d.url}healthz`)
  await c.next()
  const [first, second] = c.sequences()
  assert.equal(second, first + 1)
})
