// HTTP on the same port, asked by curl.
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'node:test'
import { promisify } from 'node:util'
import { gunzipSync } from 'node:zlib'
import { client, daemon, folder, root } from './daemon.mjs'
import { connect, request } from './raw.mjs'

const run = promisify(execFile)
const HOUR = ['--interval', '3600000']

// status, headers (names in lower case) and body of an answer.
async function curl (...args) {
  const { stdout } = await run('curl',
    ['--silent', '--show-error', '--max-time', '60', '--include', ...args], { encoding: 'buffer' })
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
  for (const path of ['', 'healthz', 'introspection.proto', 'nothing', 'metrics']) {
    const { headers, body } = await curl(`${d.url}${path}`)
    assert.equal(Number(headers['content-length']), body.length, path)
    assert.equal(headers.connection, 'close')
    assert.equal(headers['x-content-type-options'], 'nosniff')
    assert.equal(headers['referrer-policy'], 'no-referrer')
    assert.ok(Math.abs(Date.parse(headers.date) - Date.now()) < 60000, headers.date)
    assert.match(headers.date, /^\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT$/)
    assert.equal(headers.vary, 'Accept, Accept-Encoding, Origin, Sec-Fetch-Site')
    assert.equal(headers['cross-origin-resource-policy'], path === 'metrics' ? 'same-origin' : 'same-site')
    assert.equal(headers['cache-control'], /metrics|nothing/.test(path) ? 'no-store' : 'no-cache')
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

test('health checks of balancers', async t => {
  const d = await daemon(t, HOUR)
  const ask = async (...lines) => {
    const c = await connect(t, { port: d.port })
    c.send([...lines, '', ''].join('\r\n'))
    await c.end()
    return c
  }
  // HAProxy's httpchk as it is with a path, with a method, and with http-check send
  for (const lines of [['OPTIONS /healthz HTTP/1.0'], ['GET /healthz HTTP/1.0'], ['HEAD /healthz HTTP/1.0'],
    ['GET /healthz HTTP/1.1', 'host: localhost'], ['GET http://localhost/healthz HTTP/1.1', 'host: localhost'],
    ['OPTIONS /healthz HTTP/1.1', 'host: localhost'], ['', 'GET /healthz HTTP/1.0']]) {
    const c = await ask(...lines)
    assert.equal(c.status, 200, lines.join())
    assert.equal(c.field('Allow'), 'GET, HEAD, OPTIONS')
    assert.equal(c.body, lines[0].startsWith('HEAD') ? '' : 'ok\n')
  }
  for (const line of ['GET / HTTP/1.0', 'GET /metrics HTTP/1.0', 'OPTIONS / HTTP/1.0', 'GET /healthz HTTP/1.1']) {
    const c = await ask(line)
    assert.equal(c.status, 400, line)
    assert.match(c.body, /: no Host; /)
  }
})

test('gzip, or what is served to who does not take it', async t => {
  const d = await daemon(t, HOUR)
  const get = (path, ...fields) => curl(...fields.flatMap(field => ['--header', field]), `${d.url}${path}`)
  for (const fields of [['Accept-Encoding: gzip;q=1.0, identity;q=0.5'], ['Accept-Encoding: gzip', 'Accept-Encoding: br'],
    ['Accept-Encoding: *'], ['Accept-Encoding:', 'Accept: text/html,*/*;q=0.8']]) {
    const page = await get('', ...fields)
    assert.equal(page.headers['content-encoding'], 'gzip', fields.join())
    assert.match(gunzipSync(page.body).toString(), /<html/)
    assert.equal((await get('app.js', ...fields)).headers['content-encoding'], 'gzip')
  }
  for (const field of ['Accept-Encoding: gzip;q=0', 'Accept-Encoding: identity', 'Accept-Encoding;']) {
    const page = await get('', field, 'Accept: text/html')
    assert.equal(page.headers['content-encoding'], undefined, field)
    assert.match(page.body.toString(), /gzipped only/)
    const file = await get('app.js', field)
    assert.equal(file.status, 406)
    assert.equal(file.headers['content-encoding'], undefined)
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

test('a page of elsewhere reads no data', async t => {
  const d = await daemon(t, [...HOUR, '-v'], { expect: [/^refused /, /^closed /] })
  for (const path of ['', 'healthz', 'introspection.proto', 'app.js', 'metrics', 'nothing']) {
    const status = { metrics: 403, nothing: 404 }[path] ?? 200
    for (const field of ['Origin: http://evil.example', 'Origin: http://localhost:8080', 'Origin: null', 'Sec-Fetch-Site: cross-site',
      'Sec-Fetch-Site: same-site']) {
      const { headers, status: got } = await curl('--header', field, `${d.url}${path}`)
      assert.equal(got, status, `${path} ${field}`)
      assert.equal(headers['access-control-allow-origin'], undefined)
    }
    assert.equal((await curl('--header', 'Host: evil.example', `${d.url}${path}`)).status, 403)
  }
  const { status } = await curl('--resolve', `node.example:${d.port}:127.0.0.1`,
    `http://node.example:${d.port}/healthz`)
  assert.equal(status, 403)
})

test('a page of an allowed origin may read every answer, also why it was refused', async t => {
  const origin = 'https://fleet.example'
  const file = join(folder(t), 'token')
  writeFileSync(file, 'correct-horse.battery_staple~1', { mode: 0o600 })
  const d = await daemon(t, [...HOUR, '--allow-origin', origin, '--token-file', file], { expect: [/^refused /, /token/] })
  for (const [path, status] of [['healthz', 200], ['metrics', 401], ['nothing', 404]]) {
    const { headers, status: got } = await curl('--header', `Origin: ${origin}`, `${d.url}${path}`)
    assert.equal(got, status)
    assert.equal(headers['access-control-allow-origin'], origin)
    assert.match(headers.vary, /Origin/)
    const other = await curl('--header', 'Origin: https://fleet.example.evil', `${d.url}${path}`)
    assert.equal(other.headers['access-control-allow-origin'], undefined)
  }
  const table = join(folder(t), 'networks')
  writeFileSync(table, '192.0.2.0/24 AS64500 DE Example\n')
  const open = await daemon(t, [...HOUR, '--allow-origin', origin, '--remember', '1h', '--networks', table], { expect: [/^refused /] })
  for (const path of ['', 'metrics', 'past', 'networks']) {
    const { headers, status } = await curl('--header', `Origin: ${origin}`, `${open.url}${path}`)
    assert.equal(status, 200)
    assert.equal(headers['access-control-allow-origin'], origin, path)
    const own = await curl(`${open.url}${path}`)
    assert.equal(own.headers['access-control-allow-origin'], undefined)
  }
})

test('a foreign page that asks for /metrics makes it take no snapshot', async t => {
  const d = await daemon(t, ['--interval', '10'], { expect: [/^refused /] })
  for (const field of ['Origin: http://127.0.0.1:8080', 'Sec-Fetch-Site: cross-site']) {
    assert.equal((await curl('--header', field, `${d.url}metrics`)).status, 403)
  }
  const { body } = await curl('--header', 'Sec-Fetch-Site: same-origin', `${d.url}metrics`)
  assert.match(body.toString(), /^introspectd_snapshots_taken_total 1$/m)
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
