// A Prometheus that scrapes three daemons, and the queries of the Grafana dashboard.
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { client, daemon, folder, root } from './daemon.mjs'
import { encodeState, feedDaemon, node } from './feed-node.mjs'
import { dashboardIsAnswered, prometheus } from './prometheus.mjs'
import { bigState, recording, save } from './recording.mjs'

const SHORT = ['--interval', '10']
const TOKEN = 'correct-horse.battery_staple~1'

test('a fleet, scraped by Prometheus and shown by Grafana', async t => {
  const token = join(folder(t), 'token')
  writeFileSync(token, `${TOKEN}\n`, { mode: 0o600 })
  const kernel = await daemon(t, [...SHORT, '--token-file', token])
  const feed = await feedDaemon(t, SHORT)
  await node(t, feed, i => encodeState(0, { ...bigState(), resources: [{ scope: 'system', name: 'answers', used: i, limit: 1e6 }] }))
  const states = [bigState(7), { ...bigState(7), instantTs: bigState().instantTs + 100 }]
  const replay = await daemon(t, ['--replay', save(t, recording(...states.map(state => ({ state })))), '--loop', ...SHORT])
  const fleet = [kernel, feed, replay]

  const ask = await prometheus(t, {
    global: { scrape_interval: '2s', scrape_timeout: '2s' },
    scrape_configs: [{
      job_name: 'introspectd',
      authorization: { credentials_file: token },
      static_configs: [{ targets: fleet.map(d => d.host) }]
    }]
  })
  const query = async expression => (await ask('query', { query: expression })).result
  // Somebody watches and skips snapshots meanwhile, so that there is something to see.
  const c = await client(t, feed.ws)
  await c.received(1)
  for (let scraped = []; scraped.length < 3 || scraped.some(({ value }) => Number(value[1]) < 6);) {
    await c.next()
    await delay(100)
    scraped = await query('sum_over_time(up[1m])')
  }
  const { activeTargets } = await ask('targets')
  assert.deepEqual(activeTargets.map(({ discoveredLabels }) => discoveredLabels.__address__).sort(), fleet.map(d => d.host).sort())

  await t.test('what it knows is what the nodes said', async () => {
    const connections = { [feed.host]: 20, [replay.host]: 7 }
    for (const { metric, value } of await query('sum by (instance) (libp2p_connections)')) {
      if (metric.instance !== kernel.host) assert.equal(Number(value[1]), connections[metric.instance])
    }
    const sources = (await query('libp2p_node_info')).map(({ metric }) => [metric.instance, metric.source])
    assert.deepEqual(Object.fromEntries(sources), { [kernel.host]: 'kernel', [feed.host]: 'feed', [replay.host]: 'replay' })
    const [{ value }] = await query('max(time() - introspectd_snapshot_timestamp_seconds)')
    assert.ok(Number(value[1]) < 60, `${value[1]} s old`)
    const [grown] = await query('increase(libp2p_resource_used{name="answers"}[1m])')
    assert.ok(Number(grown.value[1]) > 3)
  })

  await t.test('every query of the dashboard has an answer', () => dashboardIsAnswered(ask, fleet.map(d => d.host)))

  await t.test('every metric is on the dashboard', async () => {
    const dashboard = readFileSync(join(root, 'dist/grafana.json'), 'utf8')
    const names = (await ask('label/__name__/values', { 'match[]': '{job="introspectd"}' }))
      .filter(name => /^(introspectd|libp2p|process)_/.test(name) && !/_(sum|count)$/.test(name))
    assert.ok(names.length > 25)
    assert.deepEqual(names.filter(name => !dashboard.includes(name)), [])
  })
})

test('alert rules: what wakes an operator, and what does not', () => {
  for (const [what, file] of [['check', 'dist/prometheus-rules.yml'], ['test', 'test/integration/prometheus-rules.test.yml']]) {
    const { status, stdout, stderr } = spawnSync('promtool', [what, 'rules', join(root, file)], { encoding: 'utf8' })
    assert.equal(status, 0, stdout + stderr)
  }
})
