import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { ServerMessage } from '../integration/daemon.mjs'
import { encode, fullState, load, random } from './page.mjs'

const { fnv1a, readRecording, writeRecording } = await load('recording.js')
const { Store } = await load('store.js')

const runtime = encode({ runtime: { implementation: 'x', intervalMs: 250 } })
const configuration = encode({
  version: { version: 1 },
  response: { effectiveConfig: { retentionPeriodMs: 24 * 3600 * 1000, stateSnapshotIntervalMs: 250 } }
})
const messages = [runtime, configuration, encode(fullState(1)), encode(fullState(2)), encode({ event: { ts: 3 } })]
const bytesOf = async blob => new Uint8Array(await blob.arrayBuffer())
const file = await bytesOf(writeRecording(messages))

test('FNV-1a, 32 bits, known values', () => {
  const of = s => fnv1a(Buffer.from(s))
  assert.deepEqual([of(''), of('a'), of('foobar')], [0x811c9dc5, 0xe40c292c, 0xbf9cf968])
})

test('what was written is read', () => {
  const read = readRecording(file)
  assert.deepEqual(read.problems, [])
  assert.deepEqual(read.messages, messages)
})

test('a configuration follows the runtime, without which the observer toolkit ends', async () => {
  const [, , ...rest] = messages
  assert.equal(Buffer.compare(await bytesOf(writeRecording([runtime, ...rest])), file), 0)
  assert.equal(Buffer.compare(await bytesOf(writeRecording([runtime])), file.subarray(0, 4 + 16 + runtime.length + configuration.length)), 0)
  assert.deepEqual(readRecording(await bytesOf(writeRecording([]))), { messages: [], problems: [] })
})

test('the version as the observer toolkit writes it, in place of the right one or before it', () => {
  for (const text of [Buffer.concat([Buffer.from('1000'), file.subarray(4)]), Buffer.concat([Buffer.from('1000'), file])])
    assert.deepEqual(readRecording(new Uint8Array(text)), { messages, problems: [] })
})

test('every truncation gives what was whole and says where it ends', () => {
  for (let end = 4; end < file.length; end++) {
    const { messages: got, problems } = readRecording(file.subarray(0, end))
    assert.ok(got.every((m, i) => Buffer.compare(m, messages[i]) === 0))
    const whole = 4 + got.reduce((n, m) => n + 8 + m.length, 0)
    assert.equal(problems.length, whole === end ? 0 : 1)
    if (problems.length) assert.match(problems[0], new RegExp(`offset ${whole}\\b`))
  }
})

test('every byte flipped costs at most what it belongs to', () => {
  for (let at = 4; at < file.length; at++) {
    const bad = file.slice()
    bad[at] ^= 0x10
    const { messages: got, problems } = readRecording(bad)
    assert.ok(problems.length > 0, `offset ${at}`)
    assert.ok(got.every(m => messages.some(n => Buffer.compare(m, n) === 0)))
  }
})

test('other files and absurd lengths are named, not obeyed', () => {
  assert.match(readRecording(new Uint8Array(0)).problems[0], /not a recording/)
  assert.match(readRecording(Buffer.from('PNG, perhaps')).problems[0], /not a recording/)
  assert.match(readRecording(Uint8Array.of(1, 0, 0, 0, 1, 2, 3, 4, 255, 255, 255, 255)).problems[0], /offset 4.*4294967295/)
  const below = random(3)
  for (let i = 0; i < 2000; i++) readRecording(Uint8Array.from([1, 0, 0, 0, ...Array.from({ length: below(80) }, () => below(256))]))
})

test('the sample of the observer toolkit', { skip: !process.env.SAMPLE_RECORDING && 'SAMPLE_RECORDING is not set' }, async () => {
  const sample = readFileSync(process.env.SAMPLE_RECORDING)
  const { messages: all, problems } = readRecording(sample)
  assert.deepEqual(problems, [])
  const store = new Store(Infinity)
  for (const m of all) store.add(m)
  const kinds = new Map(all.map(m => [m, ServerMessage.decode(m).payload]))
  const of = kind => all.filter(m => kinds.get(m) === kind)
  assert.equal(store.snapshots.length, of('state').length)
  assert.equal(store.events.length, of('event').length)
  assert.deepEqual(store.snapshots.map(s => s.connections),
    of('state').map(m => ServerMessage.decode(m).state.subsystems.connections.filter(c => c.status !== 1).length))
  assert.equal(Buffer.compare(await bytesOf(writeRecording(all)), sample), 0)
  const kept = [...of('runtime'), ...all.filter(m => /state|event/.test(kinds.get(m)))]
  assert.equal(Buffer.compare(await bytesOf(writeRecording(store.messages())), await bytesOf(writeRecording(kept))), 0)
})
