// The replay source: recordings are made here with an encoder of its own.
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { build, client, daemon, schema, ServerMessage, undisturbed } from './daemon.mjs'
import { commandClient } from './command-client.mjs'
import { checksum, encoded, framed, recording, save, uint32 } from './recording.mjs'

const State = schema.lookupType('introspection.State')

// With all that the daemon would put in.
const traffic = { trafficIn: { cumBytes: 1 }, trafficOut: {} }
const stateOf = (peerId, instantTs) => ({
  state: {
    instantTs,
    subsystems: { connections: [{ peerId, timeline: {}, traffic, streams: {} }], dht: { params: {}, buckets: [{}] } }
  }
})
const peerOf = snapshot => snapshot.state.subsystems.connections[0].peerId
const runtime = { runtime: { implementation: 'recorded', peerId: 'me', source: 'feed', hostname: 'elsewhere' } }

const play = (t, path, { options = [], expect = [/^replay_done states=\d+ skipped=0$/] } = {}) =>
  daemon(t, ['--replay', path, '--interval', '10', ...options], { expect })

// Every snapshot up to this one, and the line that says that the end is reached. Who is not ready in
// time, or comes late, is not shown those before.
async function watch (t, d, isLast) {
  const c = await client(t, d.ws)
  for (let n = 1; n === 1 || !isLast(c, n - 2); n++) {
    await c.received(n)
    c.ready()
  }
  await d.line(/^replay_done/)
  return c
}
const isPeer = peer => ({ snapshots }, i) => peerOf(snapshots[i]) === peer

describe('replay', { concurrency: true }, () => {
  test('plays once, as it was recorded, at the pace of instant_ts', async t => {
    const states = [0, 300, 350, 700].map((ms, i) => stateOf(`${i}`, 1700000000000 + ms))
    const { d, c } = await undisturbed(async () => {
      const d = await play(t, save(t, recording(runtime, ...states)))
      const begin = performance.now()
      const c = await watch(t, d, isPeer('3'))
      const took = performance.now() - begin
      assert.ok(took >= 700, `${took} ms`)
      await d.line(/^replay_done states=4 skipped=0$/)
      return c.snapshots.length === states.length && took < 5000 ? { d, c } : undefined
    })
    for (const [i, { state }] of c.snapshots.entries()) {
      assert.equal(peerOf({ state }), `${i}`)
      assert.equal(Number(state.sequence), i + 1)
      const { implementation, peerId, source } = state.runtime
      assert.deepEqual([implementation, peerId, source], ['recorded', 'me', 'replay'])
      assert.notEqual(state.runtime.hostname, 'elsewhere')
      const bytes = Buffer.from(State.encode(State.fromObject(states[i].state)).finish())
      assert.notEqual(c.raw[i].indexOf(bytes), -1)
    }
    // the last one stays, and nobody waits for another
    const times = []
    for (let i = 0; i < 10; i++) {
      const late = await client(t, d.ws)
      const begin = performance.now()
      assert.equal(peerOf(await late.received(1)), '3')
      times.push(performance.now() - begin)
    }
    assert.ok(Math.min(...times) < 500, `${times} ms`)   // on a busy machine not each has to be quicker
    assert.equal(c.snapshots.length, states.length)
  })

  test('begins when the first client comes, and plays to more than one', async t => {
    const all = await undisturbed(async () => {
      const d = await play(t, save(t, recording(stateOf('a', 1000), stateOf('b', 2000))))
      await fetch(`${d.url}healthz`)
      await new Promise(resolve => setTimeout(resolve, 1200))
      const all = await Promise.all([1, 2].map(() => watch(t, d, isPeer('b'))))
      return all.every(c => c.snapshots.length === 2) ? all : undefined
    })
    for (const c of all) assert.deepEqual(c.snapshots.map(peerOf), ['a', 'b'])
    assert.deepEqual(all[0].raw, all[1].raw)
  })

  test('--loop starts again', async t => {
    await undisturbed(async () => {
      const d = await play(t, save(t, recording(stateOf('a', 1000), stateOf('b', 1400))), { options: ['--loop'] })
      const start = performance.now()
      const c = await client(t, d.ws)
      for (let n = 1; n < 5; n++) {
        await c.received(n)
        c.ready()
      }
      assert.deepEqual(c.sequences().slice(0, 4), [1, 2, 3, 4])
      if (performance.now() - start > 4 * 400) return
      assert.deepEqual(c.snapshots.slice(0, 4).map(peerOf), ['a', 'b', 'a', 'b'])
      return c
    })
  })

  test('--loop: times go on, in states and events', async t => {
    const states = [0, 20, 40].map((ms, i) => stateOf(`${i}`, 1700000000000 + ms))
    const event = { event: { type: { name: 'E' }, ts: 1700000000030, content: '{}' } }
    const d = await play(t, save(t, recording(...states, event)), { options: ['--loop'] })
    const c = await commandClient(t, d.ws)
    await c.ok('HELLO')
    await c.ok('PUSH_ENABLE', { source: 'EVENTS' })
    await c.count('events', 4)
    assert.deepEqual(c.events.slice(0, 4).map(({ ts }) => ts), [0, 1, 2, 3].map(pass => 1700000000030 + pass * 60))
    const p = await client(t, d.ws)
    for (let n = 1; n < 12; n++) {
      await p.received(n)
      p.ready()
    }
    const times = p.snapshots.map(({ state }) => Number(state.instantTs))
    assert.deepEqual(times, times.toSorted((a, b) => a - b))
    assert.equal(new Set(times).size, times.length)
    for (const ts of times) assert.ok([0, 20, 40].includes((ts - 1700000000000) % 60))
  })

  test('events come without states, those before the first state too, and none to who was not there', async t => {
    const event = (ts, content) => ({ type: { name: 'E' }, ts, content })
    const events = [1, 2, 3].map(n => ({ event: event(999000 + 1000 * n, `${n}`) }))
    const path = save(t, recording({ event: event(999500, '0') }, stateOf('a', 1000000), stateOf('b', 1002000), ...events))
    const listen = async d => {
      const c = await commandClient(t, d.ws)
      await c.ok('HELLO')
      await c.ok('PUSH_ENABLE', { source: 'EVENTS' })
      return c
    }
    const first = await play(t, path)
    const c = await listen(first)
    await c.count('events', 4)
    assert.deepEqual(c.events.map(({ content }) => content), ['0', '1', '2', '3'])

    const second = await play(t, save(t, recording({ event: event(999500, '0') }, stateOf('a', 1000000), stateOf('b', 1002000),
      { event: event(1000000, '1') }, { event: event(1010000, '2') })))
    await (await client(t, second.ws)).received(1)
    await new Promise(resolve => setTimeout(resolve, 300))
    const late = await listen(second)
    await late.count('events', 1)
    assert.equal(late.events[0].content, '2')
  })

  test('damage is skipped with a line for each', async t => {
    const [good, flipped, invalid, absurd] =
      ['good', 'flipped', 'invalid', 'absurd'].map((peer, i) => framed(encoded(stateOf(peer, 1000 + 100 * i))))
    flipped[flipped.length - 1] ^= 1
    invalid.fill(0xff, invalid.indexOf('invalid'), invalid.indexOf('invalid') + 1)
    invalid.writeUInt32LE(checksum(invalid.subarray(8)), 0)
    absurd.writeUInt32LE(0xfffffff0, 4)
    const last = framed(encoded(stateOf('last', 7000)))   // the first is to be seen
    const parts = [uint32(1), good, flipped, invalid, absurd, last, last.subarray(0, -1)]
    const offsets = parts.map((_, i) => Buffer.concat(parts.slice(0, i)).length)
    const at = encoded(stateOf('invalid', 1200)).indexOf('invalid')
    const lines = [
      `replay_skipped offset=${offsets[2]} in_message=0 reason="checksum is wrong"`,
      `replay_skipped offset=${offsets[3]} in_message=${at} reason="string is not UTF-8"`,
      `replay_skipped offset=${offsets[4]} in_message=0 reason="message is over the limit"`,
      `replay_skipped offset=${offsets[6]} in_message=0 reason="message runs past the end of the file"`,
      'replay_done states=2 skipped=4'
    ]
    const d = await play(t, save(t, Buffer.concat(parts)), { expect: [/^replay_(skipped|done) /] })
    const c = await client(t, d.ws)
    assert.equal(peerOf(await c.received(1)), 'good')
    assert.equal(peerOf(await c.next()), 'last')
    await d.line(/^replay_done/)
    assert.deepEqual(d.lines.filter(line => line.startsWith('replay')), lines)
  })

  test('what cannot be played is refused at the start', async t => {
    const rows = [
      [Buffer.alloc(0), 'no recording: too short'],
      [uint32(2), 'no recording: file version is not 1'],
      [recording(runtime), 'no state in it']
    ]
    const start = path => new Promise(resolve => {
      execFile(join(build, 'introspectd'), ['--listen', '127.0.0.1:0', '--replay', path], { timeout: 60000 },
        (error, _, stderr) => resolve({ status: error?.code, stderr }))
    })
    for (const [bytes, reason] of rows) {
      const path = save(t, bytes)
      const { status, stderr } = await start(path)
      assert.equal(status, 1)
      assert.ok(stderr.endsWith(`error replay=${path} reason="${reason}"\n`), stderr)
    }
    assert.match((await start('/nonexistent')).stderr, /reason="No such file or directory"\n$/)
  })

  // A recording that the observer toolkit made; it lasts a minute.
  test('the sample recording plays completely', {
    skip: !process.env.SAMPLE_RECORDING && 'SAMPLE_RECORDING is not set',
    timeout: 450_000
  }, async t => {
    const path = process.env.SAMPLE_RECORDING
    const bytes = readFileSync(path)
    const states = []
    for (let at = 4; at < bytes.length; at += 8 + bytes.readUInt32LE(at + 4)) {
      const message = bytes.subarray(at + 8, at + 8 + bytes.readUInt32LE(at + 4))
      if (ServerMessage.decode(message).state) states.push(message)
    }
    assert.equal(states.length, 30)
    // version and length differ, the bytes of the state do not
    const bare = states.map(message => message.subarray(message.length - State.encode(ServerMessage.decode(message).state).finish().length))
    const { d, c } = await undisturbed(async () => {
      const d = await play(t, path)
      const c = await watch(t, d, ({ raw }, i) => raw[i].includes(bare.at(-1)))
      return c.raw.length === states.length ? { d, c } : undefined
    })
    await d.line(/^replay_done/)
    assert.deepEqual(d.lines.filter(line => line.startsWith('replay')), ['replay_done states=30 skipped=0'])
    for (const [i, state] of bare.entries()) assert.ok(c.raw[i].includes(state), `state ${i}`)
  })
})
