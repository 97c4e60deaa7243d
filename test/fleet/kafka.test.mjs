// README's way to Kafka, with a real broker: ten nodes, 100,000 lines, and a restart of each part.
import assert from 'node:assert/strict'
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { openSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import test from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { build, daemon, folder, root } from '../integration/daemon.mjs'
import { bigState, recording, save } from '../integration/recording.mjs'

const NODES = 10
const LINES = 100_000
const TOPIC = 'introspect'
const KAFKA = process.env.KAFKA   // the folder of its jars

async function freePort () {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address()
  server.close()
  return port
}

// A broker of its own in KRaft mode, one node for everything.
async function kafka (t) {
  const path = folder(t)
  const [port, controller] = [await freePort(), await freePort()]
  const config = join(path, 'server.properties')
  const logs = openSync(join(path, 'log'), 'a')
  const environment = { ...process.env, CLASSPATH: `${KAFKA}/*` }
  writeFileSync(config, `
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:${controller}
listeners=PLAINTEXT://127.0.0.1:${port},CONTROLLER://127.0.0.1:${controller}
controller.listener.names=CONTROLLER
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs=${join(path, 'data')}
offsets.topic.replication.factor=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
message.max.bytes=20000000
`)
  const java = args => ['-Xmx384m', ...args]
  const formatted = spawnSync('java', java(['kafka.tools.StorageTool', 'format', '-t', 'AAAAAAAAAAAAAAAAAAAAAA', '-c', config]),
    { env: environment, encoding: 'utf8' })
  assert.equal(formatted.status, 0, formatted.stdout + formatted.stderr)

  const broker = { address: `127.0.0.1:${port}` }
  const answers = () => spawnSync('kcat', ['-L', '-b', broker.address, '-m', '5'], { stdio: 'ignore' }).status === 0
  broker.start = async () => {
    broker.child = spawn('java', java(['kafka.Kafka', config]), { env: environment, stdio: ['ignore', logs, logs] })
    for (let i = 0; !answers(); i++) {
      assert.ok(i < 60 && broker.child.exitCode === null, 'no Kafka')
      await delay(1000)
    }
  }
  broker.stop = async (signal = 'SIGTERM') => {
    if (broker.child.exitCode !== null || broker.child.signalCode !== null) return
    const exited = once(broker.child, 'exit')
    broker.child.kill(signal)
    await exited
  }
  t.after(() => broker.stop('SIGKILL'))
  await broker.start()
  return broker
}

// The recipe as it stands in the README, with another broker, and options behind those it has.
function recipe (broker, key, address, options = '') {
  const readme = readFileSync(join(root, 'README.md'), 'utf8')
  const [text] = readme.match(/ +introspect --json --wait[^\n]*\|\n +kcat [^]*?(?=\n\n)/)
  const command = text.replace('broker:9092', broker.address).replace('"$(hostname)"', key)
    .replace('--interval 10 |', `--interval 0.01 ${address} | tee -a "$WRITTEN" |`)
  assert.match(command, /tee/)
  assert.ok(command.includes(broker.address) && command.includes(`-k ${key} `), command)
  return command + options
}

// The recipe in a shell. What introspect wrote stands in written, what kcat said in said.
function pipeline (t, command, written) {
  const p = { said: [] }
  p.child = spawn('sh', ['-c', command], {
    env: { ...process.env, PATH: `${build}:${process.env.PATH}`, WRITTEN: written },
    stdio: ['ignore', 'ignore', 'pipe'],
    detached: true
  })
  p.exit = once(p.child, 'exit')
  createInterface({ input: p.child.stderr }).on('line', line => p.said.push(line))
  // introspect alone is told to end; the others follow, since their input ends.
  p.end = async () => {
    const children = readFileSync(`/proc/${p.child.pid}/task/${p.child.pid}/children`, 'utf8').match(/\d+/g)
    process.kill(Number(children.find(pid => readFileSync(`/proc/${pid}/comm`, 'utf8') === 'introspect\n')), 'SIGTERM')
    return (await p.exit)[0]
  }
  t.after(() => {
    if (p.child.exitCode === null) process.kill(-p.child.pid, 'SIGKILL')
  })
  return p
}

function consumed (broker) {
  const { stdout, stderr, status } = spawnSync('kcat', ['-C', '-e', '-q', '-b', broker.address, '-t', TOPIC, '-o', 'beginning',
    '-f', '%k %s\n', '-X', 'fetch.message.max.bytes=20000000'], { encoding: 'utf8', maxBuffer: 2 ** 31 })
  assert.equal(status, 0, stderr)
  const lines = new Map()
  for (const line of stdout.split('\n').slice(0, -1)) {
    const at = line.indexOf(' ')
    const key = line.slice(0, at)
    if (!lines.has(key)) lines.set(key, [])
    lines.get(key).push(line.slice(at + 1))
  }
  return lines
}

const linesOf = path => readFileSync(path, 'utf8').split('\n').slice(0, -1)

test('what introspect writes is in Kafka, once and in order', async t => {
  const broker = await kafka(t)
  const path = folder(t)
  const file = save(t, recording(...Array.from({ length: 3 }, (_, i) => ({ state: { ...bigState(2), instantTs: 1.7e12 + 10 * i } }))))
  const options = ['--replay', file, '--loop', '--interval', '10']
  const nodes = []
  for (let i = 0; i < NODES; i++) {
    const listen = ['--listen', `127.0.0.1:${await freePort()}`]
    const n = { key: `node${i}`, written: join(path, `node${i}`), options: [...options, ...listen] }
    writeFileSync(n.written, '')
    n.daemon = await daemon(t, n.options)
    n.start = () => { n.pipeline = pipeline(t, recipe(broker, n.key, n.daemon.ws), n.written) }
    n.start()
    nodes.push(n)
  }
  const files = nodes.map(n => n.written)
  const reached = async share => {
    while (Number(spawnSync('sh', ['-c', 'cat "$0" "$@" | wc -l', ...files]).stdout) < share * LINES) await delay(1000)
  }

  await reached(0.1)
  await broker.stop()
  await delay(3000)
  await broker.start()
  await reached(0.3)
  await broker.stop('SIGKILL')
  await broker.start()
  await reached(0.5)
  for (const n of nodes.slice(0, 5)) {
    assert.equal((await n.daemon.stop()).code, 0)
    n.daemon = await daemon(t, n.options)
  }
  await reached(0.7)
  for (const n of nodes.slice(3, 8)) {
    assert.equal(await n.pipeline.end(), 0, n.pipeline.said.join('\n'))
    n.start()
  }
  await reached(1)
  for (const n of nodes) assert.equal(await n.pipeline.end(), 0, n.pipeline.said.join('\n'))

  const got = consumed(broker)
  let total = 0
  assert.deepEqual([...got.keys()].sort(), nodes.map(n => n.key).sort())
  for (const n of nodes) {
    const written = linesOf(n.written)
    written.forEach(line => JSON.parse(line))
    assert.equal(got.get(n.key).length, written.length, n.key)
    assert.deepEqual(got.get(n.key), written, n.key)
    total += written.length
  }
  assert.ok(total >= LINES, `${total} lines`)
  t.diagnostic(`${total} lines`)

  await t.test('while Kafka is away, little is kept, then nothing is asked', async t => {
    const [n] = nodes
    n.written = join(path, 'away')
    writeFileSync(n.written, '')
    n.pipeline = pipeline(t, recipe(broker, 'away', n.daemon.ws, ' -X queue.buffering.max.kbytes=256'), n.written)
    while (statSync(n.written).size === 0) await delay(100)
    await broker.stop()
    for (let before = -1; before !== statSync(n.written).size;) {
      before = statSync(n.written).size
      await delay(3000)
    }
    assert.ok(n.pipeline.said.some(line => line.includes(`${broker.address}`)), 'kcat said nothing')
    const kept = statSync(n.written).size
    await broker.start()
    while (statSync(n.written).size === kept) await delay(100)
    assert.equal(await n.pipeline.end(), 0, n.pipeline.said.join('\n'))
    assert.deepEqual(consumed(broker).get('away'), linesOf(n.written))
    t.diagnostic(`kept ${kept} bytes; kcat said: ${n.pipeline.said.find(line => line.includes(broker.address))}`)
  })
})
