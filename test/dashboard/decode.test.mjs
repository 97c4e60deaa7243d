import assert from 'node:assert/strict'
import { test } from 'node:test'
import { ServerMessage, schema } from '../integration/daemon.mjs'
import { encode, fullState, latin, load, random } from './page.mjs'

const { DecodeError, codec, decode, encode: write } = await load('decode.js')
const { messages, enums } = await load('schema.js')

// What was read, in the form in which protobufjs gives the same message.
function plain (value) {
  if (Array.isArray(value)) return value.map(plain)
  if (typeof value !== 'object') return value
  return Object.fromEntries(Object.keys(value).map(k => [k, plain(value[k])]))
}

function expected (type, value) {
  const camel = name => name.replace(/_(.)/g, (_, c) => c.toUpperCase())
  return Object.fromEntries(type.fieldsArray.filter(f => Object.hasOwn(value, f.name) && (!f.repeated || value[f.name].length)).map(f => {
    f.resolve()
    const one = x => f.resolvedType?.fields
      ? expected(f.resolvedType, x)
      : f.resolvedType ? f.resolvedType.valuesById[x] ?? x : f.type === 'bytes' ? latin(x) : typeof x === 'object' ? Number(x) : x
    const snake = Object.values(messages[type.fullName.slice('.introspection.'.length)]).find(([name]) => camel(name) === f.name)[0]
    return [snake, f.repeated ? value[f.name].map(one) : one(value[f.name])]
  }))
}

const sameAsProtobufjs = bytes => assert.deepEqual(plain(decode('ServerMessage', bytes)), expected(ServerMessage, ServerMessage.decode(bytes)))

test('the tables name every message, field and value of the .proto that is reachable', () => {
  const seen = new Set()
  const visit = type => {
    const name = type.fullName.slice('.introspection.'.length)
    if (seen.has(name)) return
    seen.add(name)
    if (!type.fieldsArray) {
      assert.deepEqual(Object.fromEntries(Object.entries(enums[name]).map(([n, s]) => [s, Number(n)])), { ...type.values })
      return
    }
    assert.deepEqual(Object.keys(messages[name]).map(Number), type.fieldsArray.map(f => f.id).sort((a, b) => a - b))
    for (const f of type.fieldsArray) {
      f.resolve()
      const [, kind, repeated] = messages[name][f.id]
      assert.equal(kind, f.resolvedType?.fullName.slice('.introspection.'.length) ?? f.type)
      assert.equal(Boolean(repeated), f.repeated)
      if (f.resolvedType) visit(f.resolvedType)
    }
  }
  visit(ServerMessage)
  visit(schema.lookupType('introspection.ClientCommand'))
  visit(schema.lookupType('introspection.Ready'))
  assert.deepEqual(Object.keys({ ...messages, ...enums }).sort(), [...seen].sort())
})

test('a State with every field reads as protobufjs reads it', () => sameAsProtobufjs(encode(fullState())))

test('each other payload reads as protobufjs reads it', () => {
  for (const payload of [
    { runtime: { implementation: 'x', eventTypes: [{ name: 'E' }] } },
    { event: { type: { name: 'E' }, ts: 5, content: '{"a":"ü"}' } },
    { response: { id: 3, result: 1, error: 'no', effectiveConfig: { retentionPeriodMs: 1, stateSnapshotIntervalMs: 2 } } },
    { notice: { kind: 0 } }, {}
  ]) sameAsProtobufjs(encode({ version: { version: 1 }, ...payload }))
})

test('what was not sent reads as its default, at any depth', () => {
  const { state } = decode('ServerMessage', new Uint8Array(0))
  assert.equal(state.traffic.traffic_in.inst_bw, 0)
  assert.deepEqual(state.subsystems.connections, [])
  assert.equal(decode('Connection', new Uint8Array(0)).conn.conn.peer_id, '')
  assert.equal(decode('Connection', new Uint8Array(0)).status, 'ACTIVE')
  assert.ok(!Object.hasOwn(decode('ServerMessage', new Uint8Array(0)), 'state'))
})

test('text: UTF-8, bytes that are not, a byte order mark, long strings', () => {
  const read = text => decode('OwnAddress', Uint8Array.from([0x0a, text.length, ...text])).multiaddr
  assert.equal(read(Buffer.from('grüße 漢字')), 'grüße 漢字')
  assert.equal(read([0xff, 0x41]), '\ufffdA')
  assert.equal(read(Buffer.from('\ufeffx')), '\ufeffx')
  const long = 'a'.repeat(100_000)
  assert.equal(decode('OwnAddress', schema.lookupType('introspection.OwnAddress').encode({ multiaddr: long }).finish()).multiaddr, long)
})

test('unknown fields of every wire type are skipped', () => {
  const field = (number, wire, ...bytes) => [(number * 8 + wire) & 127 | 128, number * 8 + wire >> 7, ...bytes]
  const unknown = [
    ...field(1000, 0, 0x96, 1), ...field(1000, 1, 1, 2, 3, 4, 5, 6, 7, 8), ...field(1000, 2, 3, 9, 9, 9),
    ...field(1000, 3), ...field(1001, 0, 1), ...field(1000, 4), ...field(1000, 5, 1, 2, 3, 4)
  ]
  const known = encode(fullState())
  assert.deepEqual(plain(decode('ServerMessage', Uint8Array.from([...unknown, ...known, ...unknown]))), plain(decode('ServerMessage', known)))
  // Field 1 of Version as a fixed32, where a varint belongs.
  assert.equal(decode('Version', Uint8Array.of(0x0d, 1, 0, 0, 0)).version, 0)
})

test('a message sent in two parts is merged, of a oneof the last one counts', () => {
  const [a, b] = [encode({ state: { instantTs: 5, addresses: [{ multiaddr: 'a' }] } }), encode({ state: { sequence: 6, addresses: [{ multiaddr: 'b' }] } })]
  const { state } = decode('ServerMessage', Uint8Array.from([...a, ...b]))
  assert.deepEqual([state.instant_ts, state.sequence, state.addresses.map(x => x.multiaddr)], [5, 6, ['a', 'b']])
  const both = decode('ServerMessage', Uint8Array.from([...a, ...encode({ runtime: { version: 'x' } })]))
  assert.deepEqual(Object.keys(both), ['runtime'])
})

test('numbers: 32 bits wrap, enum values nobody knows stay numbers', () => {
  assert.equal(decode('Version', Uint8Array.of(8, 0x81, 0x80, 0x80, 0x80, 0x10)).version, 1)
  assert.equal(decode('Connection', Uint8Array.of(0x18, 77)).status, 77)
  assert.equal(decode('DataGauge', Uint8Array.of(8, ...new Array(9).fill(255), 1)).cum_bytes, 2 ** 64)
})

// Either a message or DecodeError; anything else fails the test.
function survives (bytes) {
  try {
    decode('ServerMessage', bytes)
  } catch (e) {
    if (!(e instanceof DecodeError)) throw new Error(`${e}: ${Buffer.from(bytes).toString('hex')}`, { cause: e })
    assert.match(e.message, / at byte \d+$/)
    return false
  }
  return true
}

test('every truncation of a message is read or refused', () => {
  const bytes = encode(fullState())
  let refused = 0
  for (let end = 0; end < bytes.length; end++) refused += !survives(bytes.subarray(0, end))
  assert.ok(refused > bytes.length * 0.9, `${refused} of ${bytes.length}`)
})

test('every byte changed in turn, to several values', () => {
  const bytes = encode(fullState(7, 1))
  for (let at = 0; at < bytes.length; at++) {
    for (const value of [0, 0x80, 0xff, bytes[at] ^ 1]) {
      const changed = bytes.slice()
      changed[at] = value
      survives(changed)
    }
  }
})

test('random bytes, and random damage to real messages', () => {
  const below = random(1)
  const real = encode(fullState())
  for (let i = 0; i < 8000; i++) {
    const bytes = i % 2 ? Uint8Array.from({ length: below(60) }, () => below(256)) : real.slice(0, below(real.length))
    for (let n = below(4); n > 0; n--) bytes[below(bytes.length)] = below(256)
    survives(bytes)
  }
})

test('nesting without end is refused', () => {
  let inner = []
  for (let i = 0; i < 300; i++) inner = [0x8a, 1, inner.length & 127 | 128, inner.length >> 7 & 127 | 128, inner.length >> 14, ...inner]
  assert.throws(() => decode('Connection', Uint8Array.from(inner)), DecodeError)
  assert.ok(!survives(new Uint8Array(100_000).fill(0x0b)))
})

test('what the writer writes, protobufjs reads as it was meant', () => {
  const bytes = encode(fullState())
  assert.deepEqual(ServerMessage.toObject(ServerMessage.decode(write('ServerMessage', decode('ServerMessage', bytes)))),
    ServerMessage.toObject(ServerMessage.decode(bytes)))
  const command = write('ClientCommand', { version: { version: 1 }, id: 2 ** 40, command: 'PUSH_ENABLE', source: 'EVENTS' })
  const read = schema.lookupType('introspection.ClientCommand').decode(command)
  assert.deepEqual([Number(read.id), read.command, read.source], [2 ** 40, 2, 2])
})

test('a part of the schema reads that part and nothing else', () => {
  const { state } = codec({ ServerMessage: ['state'], State: ['sequence', 'subsystems'], Subsystems: ['connections'] })
    .decode('ServerMessage', encode(fullState(9)))
  assert.deepEqual([Object.keys(state), state.sequence, state.subsystems.connections.length], [['subsystems', 'sequence'], 9, 3])
  assert.equal(state.subsystems.connections[0].peer_id, undefined)
})
