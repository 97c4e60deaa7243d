// What needs nothing of the release before: a recording that it made of a js-libp2p node, and one
// version in all that is released.
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { hasText, open, show, withBrowser } from '../browser/browser.mjs'
import { build, client, daemon, root } from '../integration/daemon.mjs'

withBrowser()

const file = join(root, 'test/upgrade/1.0.0.mock')
const read = path => readFileSync(join(root, path), 'utf8')

test('a recording of 1.0.0 is played', async t => {
  const d = await daemon(t, ['--replay', file, '--loop', '--interval', '50'])
  const c = await client(t, d.ws)
  const { state } = await c.received(1)
  assert.equal(state.runtime.implementation, 'js-libp2p')
  assert.deepEqual(state.subsystems.connections.map(o => o.peerId.slice(0, 12)), ['12D3KooWPCr2', '12D3KooWR7Jy'])
  for (const { traffic, streams } of state.subsystems.connections) {
    assert.ok(Number(traffic.trafficIn.cumBytes) > 0)
    assert.ok(streams.streams.length > 1)
  }
  for (let n = 2; n <= 3; n++) assert.equal((await c.next()).state.subsystems.connections.length, 2)
})

test('a recording of 1.0.0 opens in the page', { timeout: 120000 }, async t => {
  const d = await daemon(t)
  const page = await open(t, d.url)
  await page.setInputFiles('input[type=file]', file)
  await hasText(page, '.state.file', 'Recording 1.0.0.mock')
  for (const [view, text] of Object.entries({ peers: 'js-libp2p', streams: '/echo/1.0.0', topics: 'weather' })) {
    await show(page, view)
    await hasText(page, 'main', text)
  }
})

test('there is one version', () => {
  const version = read('base/options.h').match(/#define VERSION "(.*)"/)[1]
  for (const program of ['introspectd', 'introspect']) {
    assert.equal(spawnSync(join(build, program), ['--version'], { encoding: 'utf8' }).stdout, `${program} ${version}\n`)
  }
  for (const page of ['introspectd.8', 'introspect.1', 'introspect-bridge.1']) {
    assert.match(read(`dist/${page}`), RegExp(`^\\.Os introspectd ${version}$`, 'm'), page)
  }
  for (const name of ['package.json', 'package-lock.json']) {
    assert.equal(JSON.parse(read(`publishers/js-libp2p/${name}`)).version, version)
  }
  for (const name of ['rust-libp2p/Cargo.toml', 'py-libp2p/pyproject.toml']) {
    assert.equal(read(`publishers/${name}`).match(/^version = "(.*)"$/m)[1], version, name)
  }
  assert.equal(read('CHANGELOG.md').match(/^## (.*)$/m)[1], version)
})
