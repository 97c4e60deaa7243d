import assert from 'node:assert/strict'
import { once } from 'node:events'
import { test } from 'node:test'
import { prometheusMetrics } from '@libp2p/prometheus-metrics'
import { introspectionMetrics } from 'introspectd-publisher'
import { Registry } from 'prom-client'
import { ECHO } from '../example/node.mjs'
import { start, watch } from './watch.mjs'

const options = { timeout: 300_000 }

test('a delegate measures what it measures alone', options, async (t) => {
  const registry = new Registry()
  const delegate = prometheusMetrics({ registry, collectDefaultMetrics: false })
  let delegated
  const node = await start(t, {
    metrics: introspectionMetrics({
      delegate: (components) => {
        delegated = delegate(components)
        return delegated
      }
    })
  })
  const peer = await start(t)
  const daemon = await watch(t, node)
  assert.equal(node.metrics, delegated)

  const stream = await (await node.dial(peer.getMultiaddrs())).newStream(ECHO)
  stream.send(new Uint8Array(1000))
  await once(stream, 'message')

  const state = await daemon.ask()
  const echo = state.protocols.find(({ protocol }) => protocol === ECHO)
  assert.equal(echo.traffic.trafficIn.cumBytes, 1000)
  assert.equal(echo.traffic.trafficOut.cumBytes, 1000)

  const metrics = await registry.getMetricsAsJSON()
  const value = (name, label) => metrics.find(metric => metric.name === name)
    .values.find(({ labels }) => Object.values(labels).includes(label))?.value
  assert.equal(value('libp2p_data_transfer_bytes_total', `${ECHO} sent`), 1000)
  assert.equal(value('libp2p_data_transfer_bytes_total', `${ECHO} received`), 1000)
  assert.ok(value('libp2p_data_transfer_bytes_total', 'global sent') >= 1000)
  // registered by components of the node
  assert.equal(value('libp2p_connection_manager_connections', 'outbound'), 1)
})

test('without a delegate the components of the node register nothing that works against them', options, async (t) => {
  const node = await start(t)
  const names = ['Metric', 'MetricGroup', 'Counter', 'CounterGroup', 'Histogram', 'HistogramGroup', 'Summary', 'SummaryGroup']

  for (const name of names) {
    const metric = node.metrics[`register${name}`]('name')
    metric.reset()
    metric.increment(1)
    metric.decrement(1)
    metric.update(1)
    metric.observe(1)
    metric.timer()()
  }

  assert.equal(node.metrics.traceFunction('name', () => 'result')(), 'result')
})

test('an error of the delegate is the delegate\'s', options, async (t) => {
  const node = await start(t, {
    metrics: introspectionMetrics({
      delegate: (components) => Object.assign(introspectionMetrics()(components), {
        trackProtocolStream () { throw new Error('delegate') }
      })
    })
  })
  const peer = await start(t)
  const connection = await node.dial(peer.getMultiaddrs())
  await assert.rejects(connection.newStream(ECHO), /delegate/)
})

test('bytes of a connection over QUIC are those of its streams, also of those that closed', options, async (t) => {
  const { quic } = await import('@chainsafe/libp2p-quic').catch(() => ({}))
  if (quic == null) {
    return t.skip('npm has no native library of QUIC for this machine')
  }
  const overQuic = { addresses: { listen: ['/ip4/127.0.0.1/udp/0/quic-v1'] }, transports: [quic()], services: {} }
  const [node, peer] = await Promise.all([start(t, overQuic), start(t, overQuic)])
  const daemon = await watch(t, node)
  const connection = await node.dial(peer.getMultiaddrs())

  for (const total of [1000, 2000]) {
    const stream = await connection.newStream(ECHO)
    stream.send(new Uint8Array(1000))
    await once(stream, 'message')
    stream.abort(new Error('enough'))

    const { subsystems: { connections: [seen, ...others] }, traffic } = await daemon.ask()
    assert.deepEqual(others, [])
    assert.deepEqual(seen.attribs, { encryption: 'quic', multiplexer: 'quic' })
    for (const { trafficIn, trafficOut } of [seen.traffic, traffic]) {
      assert.deepEqual([trafficIn.cumBytes, trafficOut.cumBytes], [total, total])
    }
  }
})
