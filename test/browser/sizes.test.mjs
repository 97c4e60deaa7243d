// Snapshots of 0.3 to 3 MB in which one list has everything: what is drawn stays small.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { hasText, open, published, show, snapshot, VIEWS, when, withBrowser } from './browser.mjs'

withBrowser()

const ELEMENTS_MAX = 6000   // of a view, however much the node tells; a routing table has most
const name = (i, length = 24) => `${i.toString(36)}-${'x'.repeat(length)}`
const many = (n, make) => Array.from({ length: n }, (_, i) => make(i))
const gauge = n => ({ cumBytes: n * 1000, instBw: n })
const traffic = n => ({ trafficIn: gauge(n), trafficOut: gauge(n) })
const connection = (i, more) => ({
  id: Buffer.from(`c${i}`), peerId: `peer${i}`, transportId: Buffer.from('ip4+tcp'), traffic: traffic(i),
  endpoints: { srcMultiaddr: '/ip4/10.0.0.1/tcp/4001', dstMultiaddr: `/ip4/10.${i >> 16 & 255}.${i >> 8 & 255}.${i & 255}/tcp/4001` }, ...more
})
const connections = (n, more) => ({ subsystems: { connections: many(n, i => connection(i, more?.(i))) } })

// What is large, and the view in which it would be drawn with a text that is then there.
const CASES = {
  topics: ['topics', 'more', n => ({ topics: many(n, i => ({ name: name(i), subscribers: i })) }), 100_000],
  'mesh of a topic': ['topics', 'more', n => ({ topics: [{ name: 'one', meshPeerIds: many(n, i => name(i)) }] }), 100_000],
  transports: ['swarm', 'others', n => connections(n, i => ({ transportId: Buffer.from(name(i)), endpoints: {} })), 20_000],
  statuses: ['overview', 'others', n => connections(n, i => ({ status: 5 + i })), 20_000],
  agents: ['overview', 'others', n => connections(n, i => ({ agentVersion: name(i, 60) })), 10_000],
  'one agent': ['connections', '1 connection', n => connections(1, () => ({ agentVersion: 'x'.repeat(n) })), 3_000_000],
  streams: ['streams', 'streams', n => connections(1, () => ({ streams: { streams: many(n, i => ({ id: Buffer.from(`${i}`), protocol: name(i), traffic: traffic(i) })) } })), 30_000],
  tags: ['connections', '1 connection', n => connections(1, () => ({ userProvidedTags: many(n, i => name(i)) })), 80_000],
  resources: ['overview', 'more', n => ({ resources: many(n, i => ({ scope: 'system', name: name(i), used: i, limit: i })) }), 60_000],
  addresses: ['overview', 'more', n => ({ addresses: many(n, i => ({ multiaddr: `/ip4/10.0.0.1/tcp/${i}/${name(i)}` })) }), 60_000],
  protocols: ['streams', 'more', n => ({ protocols: many(n, i => ({ protocol: name(i), traffic: traffic(i), streams: i })) }), 50_000],
  'routing table': ['dht', 'not drawn', n => ({ subsystems: { dht: { params: { k: 20 }, buckets: [{ cpl: 1, peers: many(n, i => ({ peerId: name(i) })) }] } } }), 90_000],
  buckets: ['dht', 'more buckets', n => ({ subsystems: { dht: { buckets: many(n, i => ({ cpl: i, peers: [{ peerId: name(i) }] })) } } }), 70_000],
  version: ['overview', 'more characters', n => ({ runtime: { implementation: 'node', version: 'v'.repeat(n) } }), 40_000],
  'kinds of events': ['events', 'kinds of events', n => ({ runtime: { eventTypes: many(Math.min(n, 64), i => ({ name: name(i) })) } }), 64]
}

const elements = page => page.evaluate(() => document.querySelectorAll('*').length)

for (const [what, [view, text, make, n]] of Object.entries(CASES)) {
  test(`a snapshot that is mostly ${what}`, { timeout: 240_000 }, async t => {
    const messages = [n, n / 10 | 0 || 1].map(size => {
      const { runtime, ...state } = make(size)
      return [...runtime ? [{ runtime }] : [], { state: { instantTs: Date.now(), ...state } }]
    })
    const d = await published(t, messages.flat(), ['--interval', '500'])
    const page = await open(t, `${d.url}#/${view}`)
    await snapshot(page)
    await hasText(page, 'main', text)
    for (const name of VIEWS) {
      await show(page, name)
      const before = page.wire.filter(Number.isInteger).length
      await when(page, () => document.querySelector('main').textContent.length > 0)
      const drawn = await elements(page)
      assert.ok(drawn < ELEMENTS_MAX, `${drawn} elements in ${name}`)
      assert.ok(before >= 1)
    }
  })
}
