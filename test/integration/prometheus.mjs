// A real Prometheus for a test, and the queries of the Grafana dashboard.
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as delay } from 'node:timers/promises'
import { folder, root } from './daemon.mjs'

// A Prometheus; ask(path) is what its HTTP API answers.
export async function prometheus (t, config) {
  const path = folder(t)
  writeFileSync(join(path, 'prometheus.yml'), JSON.stringify(config))
  const child = spawn('prometheus', [`--config.file=${join(path, 'prometheus.yml')}`,
    `--storage.tsdb.path=${join(path, 'data')}`, '--web.listen-address=127.0.0.1:0', '--log.format=json'],
  { stdio: ['ignore', 'ignore', 'pipe'] })
  const exited = once(child, 'exit')
  t.after(async () => {
    child.kill()
    await exited
  })
  for await (const line of createInterface({ input: child.stderr })) {
    const { msg, address } = JSON.parse(line)
    if (msg !== 'Listening on') continue
    child.stderr.resume()
    while (!(await fetch(`http://${address}/-/ready`)).ok) await delay(100)
    return async (path, parameters) => {
      const { status, data, error } = await (await fetch(`http://${address}/api/v1/${path}?${new URLSearchParams(parameters)}`)).json()
      assert.equal(status, 'success', `${error}: ${JSON.stringify(parameters)}`)
      return data
    }
  }
  throw new Error('no Prometheus')
}

// Every query of the Grafana dashboard has an answer, of a Prometheus that scrapes these hosts.
export async function dashboardIsAnswered (ask, hosts) {
  const { panels, templating } = JSON.parse(readFileSync(join(root, 'dist/grafana.json'), 'utf8'))
  const variable = templating.list.find(({ name }) => name === 'instance')
  const [, metric, label] = variable.query.query.match(/^label_values\((\w+), (\w+)\)$/)
  const values = await ask(`label/${label}/values`, { 'match[]': metric })
  assert.deepEqual(values, hosts.sort())
  const all = values.map(value => value.replaceAll('.', '\\\\.')).join('|')   // as Grafana escapes
  let count = 0
  for (const { title, type, targets } of panels) {
    for (const { expr, datasource } of targets ?? []) {
      assert.equal(datasource.uid, '${datasource}')
      const expression = expr.replaceAll('$instance', all).replaceAll('$__rate_interval', '1m')
      assert.ok(!expression.includes('$'), expression)
      const { result } = await ask('query', { query: expression })
      assert.ok(result.length > 0, `${title}: ${expression}`)
      if (type === 'stat') assert.equal(result.length, 1, title)
      count++
    }
  }
  assert.ok(count > 30)
}
