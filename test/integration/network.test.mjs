// Flows of UDP across network namespaces, beside what nftables counts: real QUIC, several
// interfaces, a router between, and a flood.
//
//   node (br0 over a veth pair, GSO on)  <->  router  <->  peer (no GSO)
import assert from 'node:assert/strict'
import { execFileSync, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import test from 'node:test'
import { isDeepStrictEqual } from 'node:util'
import { client, daemon, folder, memory, root, until } from './daemon.mjs'

const can = process.getuid() === 0 && spawnSync('nft', ['list', 'tables']).status === 0 &&
  spawnSync('unshare', ['-n', 'true']).status === 0
const skip = !can && 'needs root, nftables and network namespaces'
const quic = await import('@chainsafe/libp2p-quic').then(() => true, () => false)
const MIB = 1 << 20

const run = (...command) => execFileSync(command[0], command.slice(1), { encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] })
const inside = name => ['ip', 'netns', 'exec', name]

// Three namespaces. In all rules ports are those of QUIC here.
function network (t) {
  const names = Object.fromEntries(['node', 'router', 'peer'].map(role => [role, `introspectd-${process.pid}-${role}`]))
  t.after(() => { for (const name of Object.values(names)) spawnSync('ip', ['netns', 'del', name]) })
  for (const name of Object.values(names)) {
    run('ip', 'netns', 'add', name)
    run('ip', '-n', name, 'link', 'set', 'lo', 'up')
  }
  const { node, router, peer } = names
  const ip = (name, text) => run('ip', '-n', name, ...text.split(' '))
  const address = (name, dev, net, host) => {
    ip(name, `addr add 10.77.${net}.${host}/24 dev ${dev}`)
    ip(name, `addr add fd77:${net}::${host}/64 dev ${dev} nodad`)
    ip(name, `link set ${dev} up`)
  }
  run('ip', 'link', 'add', 'v0', 'netns', node, 'type', 'veth', 'peer', 'name', 'v1', 'netns', router)
  run('ip', 'link', 'add', 'v2', 'netns', router, 'type', 'veth', 'peer', 'name', 'v3', 'netns', peer)
  ip(node, 'link add br0 type bridge')
  ip(node, 'link set v0 master br0 up')
  address(node, 'br0', 1, 1)
  address(router, 'v1', 1, 2)
  address(router, 'v2', 2, 2)
  address(peer, 'v3', 2, 1)
  run(...inside(router), 'sysctl', '-qw', 'net.ipv4.ip_forward=1', 'net.ipv6.conf.all.forwarding=1')
  for (const [name, net] of [[node, 1], [peer, 2]]) {
    ip(name, `route add default via 10.77.${net}.2`)
    ip(name, `-6 route add default via fd77:${net}::2`)
  }
  // Nothing is segmented behind the observers: what they count are packets of the wire.
  for (const [name, dev] of [[router, 'v2'], [peer, 'v3']]) {
    ip(name, `link set ${dev} gso_max_segs 1`)
    ip(name, `link set ${dev} gso_max_size 1500`)
  }
  names.count = (name, hook, rule) => run(...inside(name), 'nft',
    `add table inet t; add chain inet t ${hook} { type filter hook ${hook} priority 0; }; add rule inet t ${hook} ${rule} counter`)
  names.counted = (name, hook) => {
    const [, packets, bytes] = run(...inside(name), 'nft', 'list', 'chain', 'inet', 't', hook).match(/packets (\d+) bytes (\d+)/)
    return { packets: Number(packets), bytes: Number(bytes) }
  }
  return names
}

async function shows (c, wanted) {
  for (let i = 0; i < 5000; i++) {
    const found = wanted((await c.next()).state)
    if (found) return found
  }
  assert.fail(`never: ${wanted}`)
}

// A daemon in this namespace, and a client of it: a Unix socket is in none.
async function watch (t, name, options, expect = []) {
  const path = join(folder(t), 's')
  const d = await daemon(t, ['--listen', path, '--interval', '20', ...options],
    { prefix: inside(name), expect: [/^watching /, ...expect] })
  const c = await client(t, `ws+unix:${path}:/`)
  await c.next()   // from now on it is counted
  return { d, c }
}

async function quicNode (t, name, listen, feed = '') {
  const child = spawn(inside(name)[0], [...inside(name).slice(1), process.execPath, `${root}/test/integration/quic-node.mjs`, listen],
    { stdio: ['pipe', 'pipe', 'inherit'], env: { ...process.env, FEED: feed } })
  t.after(() => child.kill('SIGKILL'))
  const lines = []
  createInterface({ input: child.stdout }).on('line', line => { lines.push(line); child.emit('said') })
  await until(child, 'said', () => lines.length > 0, 60000)
  return {
    pid: child.pid,
    addresses: lines[0].split(' '),
    async exchange (address, bytes) {
      const n = lines.length
      child.stdin.write(`${address} ${bytes}\n`)
      await until(child, 'said', () => lines.length > n, 60000)
      assert.equal(lines[n], `${bytes}`)
    }
  }
}

const quicConnections = state => state.subsystems.connections.filter(c => c.transportId.toString().endsWith('+udp+quic-v1'))
const gauge = g => ({ packets: Number(g.cumPackets), bytes: Number(g.cumBytes) })

// What the daemon shows, once it is what nftables counted before and after.
async function agrees (c, way, counted) {
  let shown, wanted
  for (let i = 0; i < 3000; i++) {
    wanted = counted()
    const [connection] = quicConnections((await c.next()).state)
    shown = connection && gauge(connection.traffic[way])
    if (isDeepStrictEqual(counted(), wanted) && isDeepStrictEqual(shown, wanted)) return shown
  }
  assert.deepEqual(shown, wanted)
}

for (const family of ['ip4', 'ip6']) {
  test(`QUIC of libp2p over ${family}: as many packets and bytes as nftables counts, once`, {
    skip: skip || (!quic && 'no @chainsafe/libp2p-quic for this machine')
  }, async t => {
    const net = network(t)
    const host = family === 'ip4' ? '10.77.2.1' : 'fd77:2::1'
    const own = family === 'ip4' ? '10.77.1.1' : 'fd77:1::1'
    net.count(net.peer, 'input', 'udp dport 4001')
    net.count(net.router, 'forward', 'udp sport 4001')
    const listener = await quicNode(t, net.peer, `/${family}/${host}/udp/4001/quic-v1`)
    const dialler = await quicNode(t, net.node, `/${family}/${own}/udp/4001/quic-v1`)
    // On the router a socket has the same port, and no part in this.
    const stranger = spawn(inside(net.router)[0], [...inside(net.router).slice(1), process.execPath, '-e',
      "require('dgram').createSocket('udp6').bind(4001)"])
    t.after(() => stranger.kill('SIGKILL'))
    const near = await watch(t, net.node, ['--pid', `${dialler.pid}`])
    const far = await watch(t, net.peer, ['--pid', `${listener.pid}`])
    const between = await watch(t, net.router, [])
    const before = Date.now()
    await dialler.exchange(listener.addresses[0], 2 * MIB)

    const out = await agrees(near.c, 'trafficOut', () => net.counted(net.peer, 'input'))
    const back = await agrees(near.c, 'trafficIn', () => net.counted(net.router, 'forward'))
    assert.ok(out.bytes > 2 * MIB && back.bytes > 2 * MIB)
    await agrees(far.c, 'trafficIn', () => net.counted(net.peer, 'input'))
    await agrees(far.c, 'trafficOut', () => net.counted(net.router, 'forward'))

    const [here] = await shows(near.c, state => quicConnections(state).length === 1 && quicConnections(state))
    const [there] = await shows(far.c, state => quicConnections(state).length === 1 && quicConnections(state))
    assert.deepEqual([here.role, there.role], [0, 1])
    assert.equal(here.endpoints.dstMultiaddr, `/${family}/${host}/udp/4001/quic-v1`)
    assert.equal(there.endpoints.srcMultiaddr, here.endpoints.dstMultiaddr)
    assert.equal(there.endpoints.dstMultiaddr, here.endpoints.srcMultiaddr)
    for (const { timeline } of [here, there]) assert.ok(Number(timeline.openTs) >= before - 100 && Number(timeline.openTs) <= Date.now())
    assert.ok(here.userProvidedTags.includes(`pid=${dialler.pid}`))
    assert.ok(Number(here.latencyNs) > 0)
    assert.deepEqual(quicConnections((await between.c.next()).state), [])
  })
}

test('a QUIC node joined with the kernel: each connection has its peer and as many bytes as nftables counts', {
  skip: skip || (!quic && 'no @chainsafe/libp2p-quic for this machine')
}, async t => {
  const net = network(t)
  const feed = join(folder(t), 'feed')
  const node = await quicNode(t, net.node, '/ip4/10.77.1.1/udp/4001/quic-v1', feed)
  const peers = [await quicNode(t, net.peer, '/ip4/10.77.2.1/udp/4001/quic-v1'), await quicNode(t, net.peer, '/ip4/10.77.2.1/udp/4002/quic-v1')]
  const peerOf = n => n.addresses[0].split('/p2p/')[1]
  net.count(net.peer, 'input', 'ip saddr 10.77.1.1 udp dport 4001')
  net.count(net.router, 'forward', 'ip daddr 10.77.1.1 udp dport 4001')
  const { c } = await watch(t, net.node, ['--feed', feed, '--pid', `${node.pid}`], [/^feed_(connected|disconnected)$/])
  await node.exchange(peers[0].addresses[0], MIB)
  await peers[1].exchange(node.addresses[0], MIB)

  // Dialled by the node, and by the other.
  const rows = [[peers[0], 'trafficOut', () => net.counted(net.peer, 'input'), 0],
    [peers[1], 'trafficIn', () => net.counted(net.router, 'forward'), 1]]
  for (const [peer, way, counted, role] of rows) {
    const found = await shows(c, ({ subsystems: { connections } }) => {
      const mine = connections.filter(({ peerId }) => peerId === peerOf(peer))
      return mine.length === 1 && mine[0].kernelTraffic && isDeepStrictEqual(gauge(mine[0].traffic[way]), counted()) && mine[0]
    })
    assert.ok(gauge(found.traffic[way]).bytes > MIB)
    assert.equal(found.role, role)
    assert.equal(found.unlisted, false)
  }
  const { state } = await c.next()
  assert.deepEqual(state.subsystems.connections.map(({ peerId, unlisted, kernelTraffic }) => [peerId, unlisted, kernelTraffic]).sort(),
    peers.map(peer => [peerOf(peer), false, true]).sort())
  assert.equal(state.runtime.peerId, peerOf(node))
})

// In Python what ethtool(8) sets: a device, a command of linux/ethtool.h and its value.
const ETHTOOL = `
import array, fcntl, socket, struct, sys
device, *value = sys.argv[1:]
value = array.array('I', [int(n, 0) for n in value])
fcntl.ioctl(socket.socket(), 0x8946, struct.pack('16sP', device.encode(), value.buffer_info()[0]))
`
const GRO = '0x2c', TSO = '0x1f'

// A program in Python, since Node has no such options (linux/udp.h): the one end has the
// kernel handle Initials of 1,200 bytes many at a time (UDP_SEGMENT), as many bytes in all as a line says,
// the other joins them again (UDP_GRO) and answers. Each says how many bytes there were so far, and how many packets
// its kernel handled.
const SEGMENTS = `
import socket, sys
device, own, peer = sys.argv[1:4]
family, proto, next_header = (socket.AF_INET6, 0x86dd, 6) if ':' in own else (socket.AF_INET, 0x0800, 9)
tap = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(3))
tap.bind((device, 3))
tap.setblocking(False)
s = socket.socket(family, socket.SOCK_DGRAM)
s.bind((own, 4001))
total = handled = 0
def say():
    global handled
    try:
        while True:
            data, sender = tap.recvfrom(64)
            handled += sender[1] == proto and sender[2] == (4 if peer else 0) and data[next_header] == 17
    except BlockingIOError:
        print(total, handled, flush=True)
if peer:
    s.setsockopt(17, 103, 1200)
    print('ready', flush=True)
    for line in sys.stdin:
        payload = (bytes.fromhex('c000000001') + bytes(1195)) * 50
        total += s.sendto(payload[:int(line)], (peer, 4001))
        say()
else:
    s.setsockopt(17, 104, 1)
    print('ready', flush=True)
    while True:
        data, sender = s.recvfrom(65536)
        s.sendto(data[:1200], sender[:2])
        total += len(data)
        say()
`

async function segments (t, name, ...args) {
  const child = spawn(inside(name)[0], [...inside(name).slice(1), 'python3', '-c', SEGMENTS, ...args], { stdio: ['pipe', 'pipe', 'inherit'] })
  t.after(() => child.kill('SIGKILL'))
  const end = { total: 0, handled: 0, send: bytes => child.stdin.write(`${bytes}\n`) }
  end.reached = total => until(child, 'said', () => end.total === total, 60000)
  createInterface({ input: child.stdout }).on('line', line => {
    end.ready = true
    if (line !== 'ready') [end.total, end.handled] = line.split(' ').map(Number)
    child.emit('said')
  })
  await until(child, 'said', () => end.ready, 60000)
  return end
}

for (const [family, own, host] of [['ip4', '10.77.1.1', '10.77.2.1'], ['ip6', 'fd77:1::1', 'fd77:2::1']]) {
  test(`UDP_SEGMENT and UDP_GRO over ${family}: the packets of the wire are counted, not those that the kernel handles`, { skip }, async t => {
    const net = network(t)
    // What leaves br0 in one piece is cut here, before the router counts.
    run('ip', '-n', net.node, 'link', 'set', 'v0', 'gso_max_segs', '1')
    net.count(net.router, 'forward', `${family === 'ip4' ? 'ip' : 'ip6'} daddr ${host} udp dport 4001`)
    // A veth joins what comes from one that does without TSO.
    run(...inside(net.peer), 'python3', '-c', ETHTOOL, 'v3', GRO, '1')
    run(...inside(net.router), 'python3', '-c', ETHTOOL, 'v2', TSO, '0')
    const receiver = await segments(t, net.peer, 'v3', host, '')
    const sender = await segments(t, net.node, 'br0', own, host)
    const near = await watch(t, net.node, [])
    const far = await watch(t, net.peer, [])
    let total = 0, packets = 0
    for (const bytes of [1200, 1201, 2400, 48000, 48005, 59999, 5, ...Array(20).fill(50500)]) {
      total += bytes
      packets += Math.ceil(bytes / 1200)
      sender.send(bytes)
      // One after the other: a veth holds 256 packets.
      await Promise.all([sender.reached(total), receiver.reached(total)])
    }
    const headers = family === 'ip4' ? 28 : 48
    assert.deepEqual(net.counted(net.router, 'forward'), { packets, bytes: total + packets * headers })
    assert.ok(sender.handled < packets / 10, `${sender.handled} handled as one, ${packets} on the wire`)
    assert.ok(receiver.handled < packets, `${receiver.handled} handled as one, ${packets} on the wire`)
    await agrees(near.c, 'trafficOut', () => net.counted(net.router, 'forward'))
    await agrees(far.c, 'trafficIn', () => net.counted(net.router, 'forward'))
  })
}

// A program in Python, since Node has no raw sockets: Initials from so many addresses and ports.
const FLOOD = `
import socket, struct, sys
s = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
to = socket.inet_aton(sys.argv[1])
payload = bytes.fromhex('c000000001') + bytes(20)
for i in range(int(sys.argv[2])):
    udp = struct.pack('>HHHH', 1024 + i % 60000, 4001, 8 + len(payload), 0)
    ip = struct.pack('>BBHHHBBH4s4s', 0x45, 0, 0, 0, 0, 64, 17, 0, struct.pack('>I', 0xc6120000 + i), to)
    s.sendto(ip + udp + payload, (sys.argv[1], 0))
`

test('a flood of 100,000 flows that nobody answers: bounded, and the daemon says how many it lost', { skip }, async t => {
  const net = network(t)
  const node = spawn(inside(net.node)[0], [...inside(net.node).slice(1), process.execPath, '-e',
    "require('dgram').createSocket('udp4').bind(4001)"])
  t.after(() => node.kill('SIGKILL'))
  const { d, c } = await watch(t, net.node, [])
  const before = memory(d)
  run(...inside(net.router), 'python3', '-c', FLOOD, '10.77.1.1', '100000')
  const flows = await shows(c, state => state.resources.find(r => r.name === 'udp-flows' && r.used > 10000))
  assert.ok(Number(flows.used) <= 16384 && Number(flows.limit) === 16384)
  const line = await d.line(/^warning source=kernel reason="more than/)
  assert.ok(Number(line.match(/lost=(\d+)/)[1]) > 0)
  assert.deepEqual(quicConnections((await c.next()).state), [])
  assert.ok(memory(d) - before < 1024, `${memory(d) - before} KiB more`)
})

// Sends and answers datagrams: so many of so many bytes, each 20 ms after the answer to the one before,
// so that no socket's buffer has to hold more than one. Arguments: its port, how many, the peer's address
// and port; without a peer it answers. It goes on for longer than the 2 s after which the kernel takes a
// flow for more than a question and its answer.
const TALKER = `
const [port, count, address, peer] = process.argv.slice(1)
const s = require('dgram').createSocket('udp4').bind(Number(port), () => console.log('bound'))
let left = Number(count)
const say = () => { if (left-- > 0) s.send(Buffer.alloc(1000), Number(peer), address) }
s.on('message', (m, from) => address ? setTimeout(say, 20) : s.send(m.subarray(0, 100), from.port, from.address))
if (address) say()
`

async function talker (t, name, ...args) {
  const child = spawn(inside(name)[0], [...inside(name).slice(1), process.execPath, '-e', TALKER, '--', ...args.map(String)], { stdio: ['ignore', 'pipe', 'inherit'] })
  t.after(() => child.kill('SIGKILL'))
  await once(child.stdout, 'data')
  return child
}

const udpConnections = state => state.subsystems.connections.filter(c => c.transportId.toString() === 'ip4+udp')
const NO_BPF = ['setpriv', '--bounding-set=-bpf,-sys_admin', '--inh-caps=-all']
const TRACKED = /^warning source=kernel reason="QUIC cannot be told from other UDP: .*" conntrack="counts" needs=/

// A daemon that may not use eBPF, in its sandbox.
async function tracking (t, name, options, expect) {
  const path = join(folder(t), 's')
  process.env.SANDBOX = '1'
  const d = await daemon(t, ['--listen', path, '--interval', '20', ...options], {
    prefix: [...inside(name), ...NO_BPF], from: join(root, process.env.SANDBOX_BUILD ?? 'build'), expect: [expect]
  }).finally(() => { delete process.env.SANDBOX })
  await d.line(expect)
  assert.equal(d.lines.filter(line => expect.test(line)).length, 1)
  return client(t, `ws+unix:${path}:/`)
}

test('without eBPF conntrack counts: who dialled, packets and bytes as nftables has them', { skip }, async t => {
  const net = network(t)
  for (const name of [net.node, net.router, net.peer]) run(...inside(name), 'sysctl', '-qw', 'net.netfilter.nf_conntrack_acct=1')
  for (const [name, hook] of [[net.node, 'output'], [net.router, 'forward'], [net.peer, 'input']]) {
    net.count(name, hook, 'ct state new,established udp dport 4001')
  }
  await talker(t, net.peer, 4001, 0)
  await talker(t, net.router, 4001, 0)   // has a port that the flow has, too, but no part in it
  const near = await tracking(t, net.node, [], TRACKED)
  const between = await tracking(t, net.router, [], TRACKED)
  const far = await tracking(t, net.peer, [], TRACKED)
  const begin = Date.now()
  const dialler = await talker(t, net.node, 4001, 150, '10.77.2.1', 4001)
  const counted = c => shows(c, state => udpConnections(state).find(({ traffic }) =>
    Number(traffic.trafficOut.cumPackets) === 150 && Number(traffic.trafficIn.cumPackets) === 150))
  const [here, there] = [await counted(near), await counted(far)]
  const wanted = net.counted(net.peer, 'input')
  assert.deepEqual(wanted, { packets: 150, bytes: 150 * 1028 })
  assert.deepEqual(gauge(here.traffic.trafficOut), wanted)
  assert.deepEqual(gauge(there.traffic.trafficIn), wanted)
  assert.deepEqual(gauge(here.traffic.trafficIn), { packets: 150, bytes: 150 * 128 })
  assert.deepEqual([here.role, there.role], [0, 1])
  assert.equal(here.endpoints.srcMultiaddr, '/ip4/10.77.1.1/udp/4001')
  assert.equal(here.endpoints.dstMultiaddr, '/ip4/10.77.2.1/udp/4001')
  assert.ok(here.userProvidedTags.includes(`pid=${dialler.pid}`))
  assert.ok(Number(here.timeline.openTs) >= begin - 1000 && Number(here.timeline.openTs) <= Date.now())
  const { state } = await between.next()
  assert.equal(state.runtime.implementation, 'Linux TCP, UDP by conntrack')
  assert.deepEqual(udpConnections(state), [])
})

test('conntrack without accounting, or without a rule that uses it, shows nothing and says so', { skip }, async t => {
  const net = network(t)
  await tracking(t, net.peer, [], /^warning source=kernel reason="QUIC cannot be seen.*conntrack="net.netfilter.nf_conntrack_acct is 0"/)
  run(...inside(net.node), 'sysctl', '-qw', 'net.netfilter.nf_conntrack_acct=1')
  await talker(t, net.peer, 4001, 0)
  const c = await tracking(t, net.node, ['--udp'], TRACKED)
  const child = await talker(t, net.node, 4001, 5, '10.77.2.1', 4001)
  await until(child, 'exit', () => false, 1000).catch(() => {})
  assert.deepEqual(udpConnections((await c.next()).state), [])
  // From the first datagram that a rule has tracked on, it is there.
  net.count(net.node, 'output', 'ct state new')
  await talker(t, net.node, 4002, 5, '10.77.2.1', 4001)
  const found = await shows(c, state => udpConnections(state).find(({ traffic }) => Number(traffic.trafficOut.cumPackets) === 5))
  assert.equal(found.endpoints.srcMultiaddr, '/ip4/10.77.1.1/udp/4002')
})
