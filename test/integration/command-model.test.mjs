// A small model of the command protocol, and long random runs in which what
// comes over the wire must agree with it. SEED repeats a run as far as time
// allows, SECONDS makes it longer.
import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import test from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { commandClient, encode, fedDaemon } from './command-client.mjs'
import { client } from './daemon.mjs'
import { completed } from './recording.mjs'

const SEED = Number(process.env.SEED ?? Date.now() % 2 ** 32)
const SECONDS = Number(process.env.SECONDS ?? 12)
const INTERVAL_MIN = 500
const INTERVAL_MAX = 2 ** 31 - 1
const RETENTION_MAX = 120000
const SLACK = 2000   // ms that an event may have been on its way to a client before it paused

// A choice of n, from 0.
function generator (seed) {
  return n => {
    seed = Math.imul(seed, 1664525) + 1013904223 >>> 0
    return Math.floor(seed / 2 ** 32 * n)
  }
}

// What a client may expect, from what it said and what came before. It takes a
// command for obeyed when the answer comes: from there on all must be as it says.
class Model {
  greeted = false
  pushes = { STATE: false, EVENTS: false }
  paused = false
  config = { stateSnapshotIntervalMs: 1000, retentionPeriodMs: RETENTION_MAX }
  due = []               // answers, in order
  requests = 0           // for a STATE, that may be unanswered
  sequence = 0           // of the last state
  event = 0              // number of the last event
  next = null            // number of the next, at most
  told = false           // of a loss, and nothing came since
  gap = false            // and no event came since
  lossy = false          // something may have been lost
  counts = { states: 0, requested: 0, enabled: 0 }
  began = performance.now()

  constructor (world) {
    this.world = world
  }

  sent (command, { id, source, config }) {
    const wrong = this.isWrong(command, source, config)
    if (command === 'REQUEST' && source === 'STATE' && !wrong) {
      this.requests++
      this.counts.requested++
      return
    }
    if (command === 'HELLO') this.greeted = true
    this.due.push({ command, id, source, config, wrong, at: performance.now() })
  }

  isWrong (command, source, config) {
    if (!this.greeted || command === 'HELLO') return this.greeted === (command === 'HELLO')
    if (command === 'REQUEST') return source !== 'STATE' && source !== 'RUNTIME'
    if (command === 'UPDATE_CONFIG') return !config
    if (command === 'PUSH_ENABLE' || command === 'PUSH_DISABLE') return source !== 'STATE' && source !== 'EVENTS'
    return command !== 'PUSH_PAUSE' && command !== 'PUSH_RESUME'
  }

  received (message) {
    const { payload } = message
    if (payload === 'response') this.onResponse(message.response)
    else if (payload === 'runtime') this.onRuntime()
    else if (payload === 'state') this.onState(message.state, message.message)
    else if (payload === 'event') this.onEvent(message.event)
    else this.onNotice(message.notice)
  }

  onRuntime () {
    const { command, source, wrong } = this.due.shift()
    assert.deepEqual([command, source, wrong], ['REQUEST', 'RUNTIME', false])
  }

  onResponse ({ id, result, error, effectiveConfig }) {
    const due = this.due.shift()
    assert.deepEqual([id, result, error !== ''], [due.id, due.wrong ? 'ERR' : 'OK', due.wrong], due.command)
    const configured = ['HELLO', 'UPDATE_CONFIG'].includes(due.command) && !due.wrong
    if (configured) this.configure(due.config)
    assert.deepEqual(effectiveConfig, configured ? this.config : null)
    if (!due.wrong) this.obey(due)
  }

  configure (config) {
    for (const key of Object.keys(this.config)) this.config[key] = config?.[key] || this.config[key]
    const { stateSnapshotIntervalMs, retentionPeriodMs } = this.config
    this.config.stateSnapshotIntervalMs = Math.min(Math.max(stateSnapshotIntervalMs, INTERVAL_MIN), INTERVAL_MAX)
    this.config.retentionPeriodMs = Math.min(retentionPeriodMs, RETENTION_MAX)
  }

  obey ({ command, source, at }) {
    if (command === 'PUSH_ENABLE' && !this.pushes[source]) {
      this.pushes[source] = true
      this.counts.enabled++
      if (source === 'EVENTS') this.next = this.world.node.events + 1
    } else if (command === 'PUSH_DISABLE') {
      this.pushes[source] = false
      if (source === 'EVENTS') this.next = null
    } else if (command === 'PUSH_PAUSE' && !this.paused) {
      this.paused = true
      this.pausedAt = at
    } else if (command === 'PUSH_RESUME' && this.paused) {
      this.paused = this.told = false
      this.resumed = this.world.node.events
      this.lossy ||= performance.now() - this.pausedAt + SLACK > this.config.retentionPeriodMs
    }
  }

  onState ({ sequence }, message) {
    const pushed = this.pushes.STATE && !this.paused
    assert.ok(pushed || this.requests > 0, 'a state that nobody asked for')
    if (!pushed) this.requests--
    if (this.paused) this.lossy = true   // those held back so far are overtaken
    assert.ok(sequence > this.sequence, `state ${sequence} after ${this.sequence}`)
    this.sequence = sequence
    this.world.assertSame(sequence, message)
    this.counts.states++
    this.told = false
  }

  onEvent ({ ts, content }) {
    assert.ok(this.pushes.EVENTS && !this.paused, 'an event that nobody asked for')
    assert.equal(JSON.parse(content).n, ts)
    assert.ok(ts > this.event, `event ${ts} after ${this.event}`)
    assert.ok(ts <= this.next || this.gap, `event ${ts} instead of ${this.next}`)
    this.event = ts
    this.next = ts + 1
    this.told = this.gap = false
    if (ts > this.resumed) this.lossy = false   // all that was held back has come
  }

  onNotice ({ kind }) {
    assert.equal(kind, 'DISCARDING_EVENTS')
    assert.ok(!this.paused && (this.pushes.STATE || this.pushes.EVENTS))
    assert.ok(!this.told, 'told twice')
    assert.ok(this.lossy || this.world.lossy, 'told of a loss that cannot be')
    this.told = this.gap = true
    this.world.notices++
  }

  // States come no faster than the interval allows.
  end () {
    const { states, requested, enabled } = this.counts
    const most = requested + enabled + (performance.now() - this.began) / INTERVAL_MIN + 1
    assert.ok(states <= most, `${states} states, ${most} at most`)
  }
}

// A client that does what chance says, and its model.
class Walker {
  constructor (t, world, d, random) {
    Object.assign(this, { t, world, d, random, id: 0 })
  }

  async connect () {
    const c = this.c = await commandClient(this.t, this.d.ws)
    const model = this.model = new Model(this.world)
    c.onMessage = message => {
      model.received(message)
      this.world.messages++
      for (const list of [c.received, c.states, c.events, c.notices, c.responses, c.runtimes]) list.length = 0
    }
    c.closed.then(() => { c.isClosed = true })
    if (this.random(5)) this.say('HELLO')
  }

  say (command, { source, config, split } = {}) {
    const id = ++this.id, { socket } = this.c
    const bytes = encode(command, { id, source, config })
    this.model.sent(command, { id, source, config })
    if (!split) return socket.send(bytes)
    const cut = this.random(bytes.length + 1)
    socket.send(bytes.subarray(0, cut), { fin: false })
    socket.ping()
    socket.send(bytes.subarray(cut), { fin: true })
  }

  sayAnything () {
    const { random } = this
    const one = list => list[random(list.length)]
    const command = one(['HELLO', 'REQUEST', 'REQUEST', 'PUSH_ENABLE', 'PUSH_ENABLE', 'PUSH_ENABLE', 'PUSH_DISABLE',
      'PUSH_PAUSE', 'PUSH_PAUSE', 'PUSH_RESUME', 'PUSH_RESUME', 'PUSH_RESUME', 'UPDATE_CONFIG', 6])
    const source = one(['STATE', 'STATE', 'EVENTS', 'EVENTS', 'RUNTIME', 5])
    const config = {
      stateSnapshotIntervalMs: one([0, 1, 500, 600, 800]),
      retentionPeriodMs: one([0, 0, 100, 400, 5000, 100000, 200000])
    }
    this.say(command, { source, split: !random(4), config: random(3) ? config : undefined })
  }

  answered () {
    return this.c.until(() => this.c.isClosed || this.model.due.length === 0, 30000)
  }

  async step () {
    const { random, c, model } = this
    const kind = random(100)
    if (kind < 60) {
      for (let n = random(4); n >= 0; n--) this.sayAnything()
    } else if (kind < 75) {
      await this.answered()
    } else if (kind < 90) {
      await delay(random(200))
    } else if (kind < 95) {
      c.socket.pause()
      await delay(random(400))
      c.socket.resume()
    } else if (kind < 98) {
      await this.answered()
      const { sequence, pushes, paused, config } = model
      if (pushes.STATE && !paused && config.stateSnapshotIntervalMs <= 1000) {
        await c.until(() => c.isClosed || model.sequence > sequence, 30000)
      }
    } else {
      c.isLeft = true
      c.socket.terminate()
      await c.closed
      model.end()
      await this.connect()
    }
  }

  async run (going) {
    await this.connect()
    while (going()) {
      await this.step()
      this.world.steps++
      if (this.c.failure) throw this.c.failure
      assert.ok(!this.c.isClosed, 'closed by the daemon')
    }
  }

  // Whatever was asked for comes in the end.
  async finish () {
    const { model, c } = this
    if (!model.greeted) this.say('HELLO')
    for (const source of ['STATE', 'EVENTS']) this.say('PUSH_ENABLE', { source })
    this.say('UPDATE_CONFIG', { config: { stateSnapshotIntervalMs: INTERVAL_MIN } })
    this.say('PUSH_RESUME')
    await this.answered()
    this.world.node.event()
    const { events } = this.world.node
    await c.until(() => model.event >= events && model.counts.states >= model.counts.requested, 60000)
    const { sequence } = model
    await c.until(() => model.sequence > sequence, 30000)
    for (const source of ['STATE', 'EVENTS']) this.say('PUSH_DISABLE', { source })
    await this.answered()
    model.end()
    assert.equal(c.failure, undefined)
  }
}

async function walk (t, { clients, history, lossy, padding, last }) {
  const random = generator(SEED)
  t.diagnostic(`SEED=${SEED}`)
  const d = await fedDaemon(t, { options: ['--history', `${history}`], size: 1000 })
  const digests = new Map()
  const world = { node: d.node, lossy, steps: 0, messages: 0, notices: 0 }
  world.assertSame = (sequence, bytes) => {
    const digest = createHash('sha1').update(bytes).digest('hex')
    assert.equal(digests.get(sequence) ?? digest, digest, `state ${sequence} has two forms`)
    digests.set(sequence, digest)
  }
  const end = performance.now() + SECONDS * 1000
  const going = () => performance.now() < end
  const pull = await client(t, d.ws)
  const pulling = async () => {
    while (going()) {
      await pull.next(30000)
      world.assertSame(Number(pull.snapshots[0].state.sequence), await completed(pull.raw[0]))
      pull.snapshots.length = pull.raw.length = 0
      await delay(random(300))
    }
  }
  const happening = async () => {
    while (going()) {
      for (let n = random(6); n > 0; n--) d.node.event({ padding: 'x'.repeat(random(padding)) })
      d.node.size = random(20000)
      await delay(random(80))
    }
  }
  const walkers = Array.from({ length: clients }, () => new Walker(t, world, d, generator(random(2 ** 32))))
  await Promise.all([...walkers.map(walker => walker.run(going)), pulling(), happening()])
  await last?.({ walkers, d, pull })
  await Promise.all(walkers.map(walker => walker.finish()))
  t.diagnostic(`${world.steps} steps, ${world.messages} messages, ${d.node.states} states, ` +
    `${d.node.events} events, ${world.notices} notices`)
  assert.ok(world.messages > world.steps)
  return world
}

test('the wire agrees with the model', async t => {
  await walk(t, { clients: 8, history: 64 << 20, padding: 1000, lossy: false })
})

test('and when the history is short', async t => {
  const history = 131072, padding = 8000
  // However lucky they were, now everybody loses something.
  const overflow = async ({ walkers, d, pull }) => {
    for (const walker of walkers) {
      if (!walker.model.greeted) walker.say('HELLO')
      walker.say('PUSH_ENABLE', { source: 'EVENTS' })
      walker.say('PUSH_PAUSE')
      await walker.answered()
    }
    for (let sent = 0; sent < 2 * history; sent += padding) d.node.event({ padding: 'x'.repeat(padding) })
    for (let i = 0; i < 2; i++) await pull.next(30000)   // behind all of them
  }
  const { notices } = await walk(t, { clients: 8, history, padding, lossy: true, last: overflow })
  assert.ok(notices >= 8, `${notices} notices`)
})
