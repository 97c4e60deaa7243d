// What a page of elsewhere can find out about a daemon, and make it do.
import assert from 'node:assert/strict'
import { createServer } from 'node:http'
import { test } from 'node:test'
import { daemon } from '../integration/daemon.mjs'
import { open, silentPort, withBrowser } from './browser.mjs'

withBrowser()

async function listening (t, server) {
  await new Promise(resolve => server.listen(0, '127.0.0.1', resolve))
  t.after(() => { server.close(); server.closeAllConnections?.() })
  return server.address().port
}

// In the page: every way in which it may load something of another origin without asking,
// and what came of each.
async function loadAll (url) {
  const element = (name, props) => new Promise(resolve => {
    const e = Object.assign(document.createElement(name), props)
    e.onload = () => resolve('loaded')
    e.onerror = () => resolve('failed')
    document.head.append(e)
  })
  const ask = settings => fetch(url, settings).then(() => 'loaded', () => 'failed')
  const socket = new Promise(resolve => {
    const s = new WebSocket(url.replace('http', 'ws'))
    s.onopen = () => resolve('loaded')
    s.onerror = () => resolve('failed')
  })
  return {
    opaque: await ask({ mode: 'no-cors', cache: 'no-store' }),
    cors: await ask({}),
    credentials: await ask({ mode: 'no-cors', credentials: 'include' }),
    image: await element('img', { src: url }),
    script: await element('script', { src: url }),
    module: await element('script', { src: url, type: 'module' }),
    style: await element('link', { rel: 'stylesheet', href: url }),
    socket: await socket
  }
}

const PATHS = ['', 'healthz', 'app.js', 'style.css', 'icon.svg', 'introspection.proto', 'metrics', 'introspect', 'nothing']
const taken = async d => (await (await fetch(`${d.url}metrics`)).text()).match(/^introspectd_snapshots_taken_total (\d+)$/m)[1]

test('a page of another site, or of another port, loads nothing and makes the daemon take nothing', { timeout: 300_000 }, async t => {
  const d = await daemon(t, ['--interval', '10'], { expect: [/^refused status=403 /] })
  const pages = await listening(t, createServer((request, response) => response.setHeader('Content-Type', 'text/html').end()))
  const closed = await silentPort(t)
  for (const origin of [`http://example.test:${pages}`, `http://127.0.0.1:${pages}`]) {
    const page = await open(t, `${origin}/`)
    const absent = await page.evaluate(loadAll, `http://127.0.0.1:${closed}/`)
    for (const path of PATHS) {
      assert.deepEqual(await page.evaluate(loadAll, `${d.url}${path}`), absent, `${origin} ${path}`)
    }
  }
  assert.equal(await taken(d), '1', 'the one that this scrape takes')
})
