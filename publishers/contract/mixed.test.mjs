// Nodes of two implementations that are connected to each other, each watched by a daemon.
import assert from 'node:assert/strict'
import { join } from 'node:path'
import { test } from 'node:test'
import { client, daemon, folder, schema } from '../../test/integration/daemon.mjs'
import { publish } from '../js-libp2p/src/index.js'
import { multiaddr, start } from '../js-libp2p/test/watch.mjs'
import { publishers, run } from './publishers.mjs'

const { values: { CLOSED } } = schema.lookupEnum('introspection.Status')
const { values: { INITIATOR, RESPONDER } } = schema.lookupEnum('introspection.Role')

/** Asks for snapshots until what is found in one is something. */
async function shows (c, find) {
  for (;;) {
    const found = find((await c.next()).state.subsystems?.connections ?? [])
    if (found) return found
  }
}

for (const publisher of publishers.filter(({ name }) => name !== 'js')) {
  test(`js and ${publisher.name} agree on who is connected to whom`, { timeout: 120_000, skip: publisher.skip }, async t => {
    const watch = async () => {
      const feed = join(folder(t), 'feed.sock')
      const d = await daemon(t, ['--feed', feed, '--interval', '20'], { expect: [/^feed_(connected|disconnected)$/] })
      return { feed, client: await client(t, d.ws) }
    }
    const [ours, theirs] = await Promise.all([watch(), watch()])
    const other = await run(t, publisher, theirs.feed)
    const node = await start(t)
    const published = publish(node, { path: ours.feed })
    t.after(() => published.stop())
    const connection = await node.dial(other.addresses.filter(a => a.includes('/tcp/')).map(a => multiaddr(a)))

    const to = peerId => connections => connections.find(c => c.peerId === peerId && c.status !== CLOSED)
    const [dialed, accepted] = await Promise.all([
      shows(ours.client, to(other.peerId)), shows(theirs.client, to(node.peerId.toString()))
    ])
    assert.deepEqual([dialed.role, accepted.role], [INITIATOR, RESPONDER])
    assert.equal(dialed.endpoints.srcMultiaddr, accepted.endpoints.dstMultiaddr)
    assert.equal(dialed.endpoints.dstMultiaddr, `${accepted.endpoints.srcMultiaddr}/p2p/${other.peerId}`)
    assert.deepEqual(dialed.attribs, accepted.attribs)

    const agent = peerId => connections => to(peerId)(connections)?.agentVersion
    assert.match(await shows(theirs.client, agent(node.peerId.toString())), /js-libp2p/)
    assert.notEqual(await shows(ours.client, agent(other.peerId)), '')

    await connection.close()
    await Promise.all([
      shows(ours.client, connections => !to(other.peerId)(connections)),
      shows(theirs.client, connections => !to(node.peerId.toString())(connections))
    ])
  })
}
