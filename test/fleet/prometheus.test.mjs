// Fifty daemons with a token and TLS of a private authority, scraped by one Prometheus with the
// alert rules.
import assert from 'node:assert/strict'
import { rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { daemon, folder, root } from '../integration/daemon.mjs'
import { encodeState, feedDaemon, node } from '../integration/feed-node.mjs'
import { makePki } from '../integration/pki.mjs'
import { dashboardIsAnswered, prometheus } from '../integration/prometheus.mjs'
import { bigState, recording, save } from '../integration/recording.mjs'

const DAEMONS = 50

test('fifty daemons, one Prometheus', async t => {
  const pki = makePki()
  t.after(() => rmSync(pki.path, { recursive: true }))
  const token = join(folder(t), 'token')
  writeFileSync(token, 'correct-horse.battery_staple~1\n', { mode: 0o600 })
  const options = ['--token-file', token, '--tls-cert', pki.file('server.pem'), '--tls-key', pki.file('server.key')]
  const states = Array.from({ length: 5 }, (_, i) => ({ ...bigState(100), instantTs: 1.7e12 + 1000 * i }))
  const file = save(t, recording(...states.map(state => ({ state }))))
  const fleet = []

  for (let i = 0; i < DAEMONS - 1; i++) fleet.push(await daemon(t, ['--replay', file, '--loop', ...options]))
  // One node, which is near a limit, and gone later.
  const full = { ...bigState(3), resources: [{ scope: 'system', name: 'fd', used: 95, limit: 100 }] }
  const feed = await feedDaemon(t, options, { expect: [/^feed_disconnected$/] })
  const n = await node(t, feed, () => encodeState(0, full))
  fleet.push(feed)

  const ask = await prometheus(t, {
    global: { scrape_interval: '5s', scrape_timeout: '5s', evaluation_interval: '2s' },
    rule_files: [join(root, 'dist/prometheus-rules.yml')],
    scrape_configs: [{
      job_name: 'introspectd',
      scheme: 'https',
      authorization: { credentials_file: token },
      tls_config: { ca_file: pki.file('ca.pem') },
      static_configs: [{ targets: fleet.map(d => d.host) }]
    }]
  })
  const scraped = async () => Number((await ask('query', { query: 'min(sum_over_time(up[1m]))' })).result[0]?.value[1] ?? 0)
  while (await scraped() < 4) await delay(1000)
  const targets = (await ask('targets')).activeTargets
  assert.deepEqual(targets.map(({ health, lastError }) => [health, lastError]), fleet.map(() => ['up', '']))
  const durations = targets.map(({ lastScrapeDuration }) => 1000 * lastScrapeDuration).sort((a, b) => a - b)
  t.diagnostic(`a scrape took ${durations[DAEMONS >> 1].toFixed(1)} ms, at most ${durations.at(-1).toFixed(1)} ms`)

  await t.test('every query of the dashboard has an answer', () => dashboardIsAnswered(ask, fleet.map(d => d.host)))

  await t.test('the alerts that are due, and no others, are pending', async () => {
    const pending = async () => {
      const { alerts } = await ask('alerts')
      return [...new Set(alerts.map(({ labels }) => `${labels.alertname} ${labels.instance}`))].sort()
    }
    assert.deepEqual(await pending(), [`Libp2pLimitNear ${feed.host}`])
    n.socket.destroy()
    await fleet[0].stop()
    const due = [`IntrospectdDown ${fleet[0].host}`, `Libp2pLimitNear ${feed.host}`, `Libp2pNodeGone ${feed.host}`]
    for (let i = 0; `${await pending()}` !== `${due}`; i++) {
      assert.ok(i < 60, `${await pending()}`)
      await delay(500)
    }
    const { groups } = await ask('rules')
    assert.deepEqual(groups.flatMap(({ rules }) => rules).filter(({ health }) => health !== 'ok'), [])
  })
})
