import assert from 'node:assert/strict'
import { test } from 'node:test'
import { load } from './page.mjs'

const f = await load('format.js')
const { parseAddress } = await load('connection.js')

const table = (name, fn, rows) => test(name, () => {
  for (const [input, want] of rows) assert.equal(fn(input), want, `${name}(${input})`)
})

table('bytes', f.bytes, [
  [0, '0 B'], [999, '999 B'], [1000, '0.98 KiB'], [1024, '1.00 KiB'], [10_240, '10.0 KiB'], [102_400, '100 KiB'],
  [1023 * 1024, '1.00 MiB'], [5e9, '4.66 GiB'], [2 ** 64, '16.0 EiB'], [0.4, '0 B']
])
table('rate', f.rate, [[2048, '2.00 KiB/s']])
table('count', f.count, [[0, '0'], [12_345, '12,345']])
table('latency', f.latency, [[282_590, '0.28 ms'], [14_498_677, '14.5 ms'], [250e6, '250 ms'], [2.5e9, '2.50 s']])
table('duration', f.duration, [
  [0, '0 s'], [-5, '0 s'], [59_999, '59 s'], [60_000, '1 min'], [200_000, '3 min 20 s'], [1_200_000, '20 min'],
  [7_500_000, '2 h 5 min'], [86_400_000 * 3 + 3_600_000, '3 d 1 h']
])
table('ago', f.ago, [[0, 'just now'], [12_400, '12 s ago'], [180_000, '3 min ago']])
table('short', f.short, [
  ['', ''], ['127.0.0.1:50000', '127.0.0.1:50000'], ['12D3KooWQ8wFnPdGyb1Zx9YxLwDHEq7JpMTS2TtRjMGkKwqo4Xrn', '12D3K…Kwqo4Xrn'],
  ['🦀'.repeat(30), '🦀🦀🦀🦀🦀…🦀🦀🦀🦀🦀🦀🦀🦀']
])
table('hostPort', f.hostPort, [
  ['/ip4/1.2.3.4/tcp/80', '1.2.3.4:80'], ['/ip6/::1/udp/4001/quic-v1', '[::1]:4001'], ['/dns4/example.org/tcp/443/wss', 'example.org:443'],
  ['/ip4/1.2.3.4', '1.2.3.4'], ['/unix/run/x', '/unix/run/x'], ['8de3', '8de3'], ['', '']
])
table('label', f.label, [['ip4+tcp', 'ip4+tcp'], ['\x01\x00', '0x0100'], ['', '']])
table('words', f.words, [['ACTIVE', 'active'], [77, 'unknown (77)']])

test('times that are none are a dash', () => {
  assert.deepEqual([f.clock(0), f.clock(-1), f.clock(1e300), f.moment(0)], ['–', '–', '–', '–'])
  const noon = new Date(2024, 4, 6, 12, 30, 5).getTime()
  assert.equal(f.clock(noon), '12:30:05')
  assert.equal(f.moment(noon, noon + 1000), '12:30:05')
  assert.equal(f.moment(noon, noon + 864e5), '6 May 2024, 12:30:05')
})

table('parseAddress', parseAddress, [
  ['localhost', 'ws://localhost:4801/'], [' 10.0.0.7:9000 ', 'ws://10.0.0.7:9000/'], ['::1', 'ws://[::1]:4801/'],
  ['[::1]:5000', 'ws://[::1]:5000/'], ['router.lan', 'ws://router.lan:4801/'], ['ws://a:1/', 'ws://a:1/'], ['wss://node.example', 'wss://node.example/'],
  ['https://node.example/ws', 'wss://node.example/ws'], ['http://127.0.0.1:4801', 'ws://127.0.0.1:4801/'], ['host:80', 'ws://host/']
])

test('what is no address is said to be none', () => {
  for (const bad of ['', 'ftp://x', 'a b', 'host:99999', 'ws://', 'ws://user:pw@host', '[::1', 'host:port', '4801', '4801:80', 'ws://4801/', '::1:4801', '2001:db8::7:4801'])
    assert.throws(() => parseAddress(bad), { name: 'Error', message: /address|scheme|has no host/ }, bad)
})
