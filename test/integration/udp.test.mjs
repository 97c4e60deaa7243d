// Flows of UDP: QUIC as the kernel source shows it, and what is asked for with --udp.
import assert from 'node:assert/strict'
import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import { readdirSync, readFileSync, readlinkSync } from 'node:fs'
import test from 'node:test'
import { client, daemon } from './daemon.mjs'

const SHORT = ['--interval', '10']
const HEADERS = 28   // bytes of IPv4 and UDP
const skip = process.getuid() !== 0 && 'not root'

async function socket (t, address = '127.0.0.1') {
  const s = createSocket(address.includes(':') ? 'udp6' : 'udp4')
  s.bind(0, address)
  await once(s, 'listening')
  t.after(() => s.close())
  s.count = 0
  s.on('message', () => { s.count++ })
  s.to = (other, bytes) => new Promise((resolve, reject) =>
    s.send(bytes, other.address().port, other.address().address, error => error ? reject(error) : resolve()))
  return s
}

// A packet with QUIC's long header: an Initial of version 1 (RFC 9000, section 17.2.2).
const initial = (bytes = 1200) => Buffer.concat([Buffer.from('c000000001', 'hex'), Buffer.alloc(bytes - 5)])
const short = bytes => Buffer.concat([Buffer.from([0x41]), Buffer.alloc(bytes - 1)])

const port = s => s.address().port
const find = (state, near, far) => state.subsystems.connections.find(({ endpoints }) =>
  endpoints.srcMultiaddr.includes(`/udp/${port(near)}`) && endpoints.dstMultiaddr.includes(`/udp/${port(far)}`))

async function shows (c, wanted) {
  for (let i = 0; i < 5000; i++) {
    const found = wanted((await c.next()).state)
    if (found) return found
  }
  assert.fail(`never: ${wanted}`)
}

for (const [address, name, headers] of [['127.0.0.1', 'ip4', HEADERS], ['::1', 'ip6', 48]]) {
  test(`a QUIC connection over ${name}: ends, who dialled, bytes, process`, { skip }, async t => {
    const d = await daemon(t, ['--pid', `${process.pid}`, ...SHORT], { expect: [/^watching /] })
    const c = await client(t, d.ws)
    const [node, peer] = [await socket(t, address), await socket(t, address)]
    await c.next()   // from now on it is counted
    const before = Date.now()
    await node.to(peer, initial())
    await peer.to(node, initial())
    for (let i = 0; i < 50; i++) await node.to(peer, short(1000))
    const near = await shows(c, state => {
      const found = find(state, node, peer)
      return found?.userProvidedTags.length && Number(found.traffic.trafficOut.cumPackets) === 51 && found
    })
    assert.equal(near.transportId.toString(), `${name}+udp+quic-v1`)
    assert.equal(near.endpoints.srcMultiaddr, `/${name}/${address}/udp/${port(node)}/quic-v1`)
    assert.equal(near.role, 0)
    assert.equal(Number(near.traffic.trafficOut.cumBytes), 1200 + 50 * 1000 + 51 * headers)
    assert.equal(Number(near.traffic.trafficIn.cumBytes), 1200 + headers)
    assert.ok(near.userProvidedTags.includes(`pid=${process.pid}`))
    assert.ok(Number(near.latencyNs) > 0)
    const opened = Number(near.timeline.openTs)
    assert.ok(opened >= before - 100 && opened <= Date.now(), `${opened}, ${before}`)
    const far = await shows(c, state => find(state, peer, node))
    assert.equal(far.role, 1)
    assert.equal(Number(far.traffic.trafficIn.cumBytes), 1200 + 50 * 1000 + 51 * headers)
  })
}

test('one that was open before it was counted: nobody knows who dialled', { skip }, async t => {
  const d = await daemon(t, SHORT)
  const c = await client(t, d.ws)
  const [node, peer] = [await socket(t), await socket(t)]
  await c.next()
  for (let i = 0; i < 4; i++) {
    await node.to(peer, short(100))
    await peer.to(node, short(100))
  }
  const found = await shows(c, state => find(state, node, peer))
  assert.ok(found.userProvidedTags.includes('role=unknown'))
  assert.equal(found.transportId.toString(), 'ip4+udp+quic-v1')
})

test('other UDP is shown only when asked for', { skip }, async t => {
  for (const options of [[], ['--udp']]) {
    const d = await daemon(t, [...SHORT, ...options])
    const c = await client(t, d.ws)
    const [a, b, q, r] = [await socket(t), await socket(t), await socket(t), await socket(t)]
    await c.next()
    await a.to(b, Buffer.from('no QUIC'))
    await q.to(r, initial())
    await shows(c, state => find(state, q, r))
    const found = find((await c.next()).state, a, b)
    assert.equal(found?.transportId.toString(), options.length ? 'ip4+udp' : undefined)
  }
})

test('no packet reaches the daemon', { skip }, async t => {
  const d = await daemon(t, SHORT)
  const c = await client(t, d.ws)
  const [a, b] = [await socket(t), await socket(t)]
  await c.next()
  for (let i = 0; i < 100; i++) await a.to(b, initial())
  await shows(c, state => find(state, a, b))
  const leads = fd => { try { return readlinkSync(`/proc/${d.pid}/fd/${fd}`) } catch { return '' } }   // closed meanwhile
  const inodes = readdirSync(`/proc/${d.pid}/fd`).map(fd => leads(fd).match(/^socket:\[(\d+)\]$/)?.[1])
  const columns = readFileSync(`/proc/${d.pid}/net/packet`, 'utf8').split('\n').map(line => line.trim().split(/\s+/))
  const found = columns.filter(([,,, protocol, , , , , inode]) => inodes.includes(inode) && protocol === '0003')
  assert.deepEqual(found.map(([,,,,,, rmem]) => rmem), ['0'])   // bytes received and not read, of no memory
})

test('without the right to count: one line that says what would help', { skip }, async t => {
  const d = await daemon(t, SHORT, {
    prefix: ['setpriv', '--bounding-set=-net_raw,-bpf,-sys_admin', '--inh-caps=-all'],
    expect: [/^warning source=kernel reason="QUIC cannot be (?:seen|told).*needs="CAP_NET_RAW and CAP_BPF/]
  })
  const c = await client(t, d.ws)
  await c.next()
  await d.line(/^warning source=kernel reason="QUIC/)
  assert.equal(d.lines.filter(line => line.startsWith('warning source=kernel reason="QUIC')).length, 1)
})
