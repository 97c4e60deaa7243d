// Programs of the release before with those of this one: whoever upgrades one of them first goes on
// working. The table of HACKING.md has a row for each test. RELEASED: the tree of the release
// before, built (make upgrade-check).
import assert from 'node:assert/strict'
import { execFile, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { describe, test } from 'node:test'
import { createInterface } from 'node:readline'
import { promisify } from 'node:util'
import protobuf from 'protobufjs'
import { hasText, open, show, when, withBrowser } from '../browser/browser.mjs'
import { fakeNode } from '../bridge/fake.mjs'
import { build, client, daemon, folder, root, until } from '../integration/daemon.mjs'
import { makePki } from '../integration/pki.mjs'
import { bigState, recording, save } from '../integration/recording.mjs'
import { publishers, run as publisher } from '../../publishers/contract/publishers.mjs'

const limit = { timeout: 300000 }   // of a group
const release = (tree, at) => ({
  tree,
  build: at,
  version: spawnSync(join(at, 'introspectd'), ['--version'], { encoding: 'utf8' }).stdout.split(' ')[1]?.trim(),
  ServerMessage: protobuf.loadSync(join(tree, 'introspection.proto')).lookupType('introspection.ServerMessage')
})
const released = resolve(root, process.env.RELEASED ?? 'build/released')
const before = release(released, join(released, 'build'))
const now = release(root, build)
const FEED = [/^feed_(connected|disconnected)$/]

withBrowser()

// What is recorded here: many states, so that one is always newer, and an event with each.
const COUNT = 20
const states = (count = 50) => Array.from({ length: count }, (_, i) => [
  { state: { ...bigState(COUNT), instantTs: 1700000000000 + 200 * i, traffic: { trafficIn: { cumBytes: 1000 * i } } } },
  { event: { type: { name: 'Test' }, ts: 1700000000000 + 200 * i, content: `{"n":${i}}` } }
]).flat()
const RUNTIME = { runtime: { implementation: 'go-libp2p', version: '0.20.0', peerId: 'peer-of-the-node', eventTypes: [{ name: 'Test' }] } }

const replaying = (t, of, ...options) => daemon(t, [
  '--replay', save(t, recording(RUNTIME, ...states())), '--loop', '--interval', '50', ...options
], { from: of.build })

// Runs introspect of a release to its end.
async function introspect (of, ...args) {
  const { stdout, stderr } = await promisify(execFile)(join(of.build, 'introspect'), args,
    { maxBuffer: 1 << 26, timeout: 120000 })
  assert.equal(stderr, '')
  return stdout
}

const parsed = text => text.trim().split('\n').map(line => JSON.parse(line))

// The messages of a recording, as the schema of a release has them.
function messages (bytes, { ServerMessage }) {
  const all = []
  assert.equal(bytes.readUInt32LE(0), 1)
  for (let at = 4; at < bytes.length;) {
    const len = bytes.readUInt32LE(at + 4)
    all.push(ServerMessage.decode(bytes.subarray(at + 8, at + 8 + len)))
    at += 8 + len
  }
  return all
}

const complete = connections => {
  assert.equal(connections.length, COUNT)
  connections.forEach((c, i) => {
    assert.equal(c.peerId, `peer${i}`)
    assert.equal(Number(c.traffic.trafficOut?.cumBytes ?? 0), 3 * i)
    assert.equal(c.streams.streams.length, 3)
  })
}

// A terminal in which the live view of a release runs.
async function live (t, of, address, ...wanted) {
  const child = spawn('script', ['-qfec', `stty cols 120 rows 40; exec ${join(of.build, 'introspect')} ${address}`, '/dev/null'],
    { env: { ...process.env, TERM: 'xterm', LC_ALL: 'C.UTF-8' } })
  t.after(() => child.kill('SIGKILL'))
  let text = ''
  child.stdout.on('data', data => { text += data; child.emit('drawn') })
  const exit = once(child, 'exit')
  for (const word of wanted) await until(child, 'drawn', () => text.includes(word))
  child.stdin.write('q')
  assert.deepEqual(await exit, [0, null])
}

// The page that a daemon serves watches another daemon.
async function watches (t, page, of) {
  const host = await daemon(t, [], { from: page.build, expect: [/./] })
  const d = await replaying(t, of, '--allow-origin', host.url.slice(0, -1))
  const p = await open(t, host.url)
  await p.fill('[name=address]', d.host)
  await p.press('[name=address]', 'Enter')
  await hasText(p, '.state.open', `Connected to ${d.host}`)
  for (const [view, text] of Object.entries({ connections: 'peer7', streams: '/ipfs/kad/1.0.0', events: 'Test' })) {
    await show(p, view)
    await hasText(p, 'main', text)
  }
  return p
}

// What a node published by a release's js package says.
async function example (t, of, path) {
  const script = join(of.tree, 'publishers/js-libp2p/example/example.mjs')
  const child = spawn(process.execPath, [script, '--feed', path], { stdio: ['ignore', 'ignore', 'inherit'] })
  t.after(async () => { child.kill('SIGKILL'); await once(child, 'exit') })
}

async function fed (t, of, start) {
  const path = join(folder(t), 'feed')
  const d = await daemon(t, ['--feed', path, '--interval', '50'], { from: of.build, expect: FEED })
  await start(path)
  const c = await client(t, d.ws)
  for (let m = await c.received(1, 60000); ; m = await c.next(60000)) {
    if (m.state.subsystems?.connections?.length >= 2) return m.state
  }
}

for (const [a, b] of [[before, now], [now, before]]) {
  describe(`${a.version} with a daemon of ${b.version}`, limit, () => {
    test('introspect --json prints every snapshot whole', async t => {
      const d = await replaying(t, b)
      const all = parsed(await introspect(a, '--json', '--count', '5', d.ws))
      assert.equal(all.length, 5)
      all.forEach(s => complete(s.subsystems.connections))
      assert.ok(all.every((s, i) => i === 0 || Number(s.sequence) > Number(all[i - 1].sequence)))
    })

    test('introspect --events prints events', async t => {
      const d = await replaying(t, b)
      const all = parsed(await introspect(a, '--events', '--count', '5', d.ws))
      all.forEach(e => assert.deepEqual([e.type.name, typeof JSON.parse(e.content).n], ['Test', 'number']))
    })

    test('the live view shows peers and bytes', async t => {
      const d = await replaying(t, b)
      await live(t, a, d.ws, 'peer7', 'go-libp2p')
    })

    test('introspect --record, and a daemon plays it', async t => {
      const d = await replaying(t, b)
      const file = join(folder(t), 'recording')
      const { stderr } = await promisify(execFile)(join(a.build, 'introspect'), ['--record', file, '--count', '3', d.ws])
      assert.match(stderr, /3/)
      const all = messages(readFileSync(file), before)
      assert.equal(all[0].payload, 'runtime')
      const kept = all.filter(m => m.state)
      assert.equal(kept.length, 3)
      kept.forEach(m => complete(m.state.subsystems.connections))
      const player = await daemon(t, ['--replay', file], { from: b.build })
      complete((await (await client(t, player.ws)).received(1)).state.subsystems.connections)
    })

    test('over TLS, with a token', async t => {
      const pki = makePki()
      t.after(() => rmSync(pki.path, { recursive: true }))
      const token = pki.file('token')
      writeFileSync(token, 'correct-horse.battery_staple~1\n', { mode: 0o600 })
      chmodSync(pki.file('server.key'), 0o600)
      const d = await replaying(t, b, '--tls-cert', pki.file('server.pem'), '--tls-key', pki.file('server.key'), '--token-file', token)
      const [s] = parsed(await introspect(a, '--json', '--count', '1', '--token-file', token, '--ca', pki.file('ca.pem'), `wss://localhost:${d.port}`))
      complete(s.subsystems.connections)
    })

    test('the page shows connections, streams and events', async t => {
      const page = await watches(t, a, b)
      assert.equal(page.differences > 0, false, 'only what both know')
    })

    test("the js publisher's node is shown", async t => {
      const state = await fed(t, b, path => example(t, a, path))
      assert.equal(state.runtime.implementation, 'js-libp2p')
      assert.ok(state.subsystems.connections.every(c => c.peerId.startsWith('12D3KooW')))
    })
  })
}

describe(`the daemon of ${before.version} gives way to that of ${now.version}`, limit, () => {
  test('introspect --wait and the page go on', async t => {
    const first = await replaying(t, before)
    const child = spawn(join(before.build, 'introspect'), ['--json', '--wait', first.ws], { stdio: ['ignore', 'pipe', 'ignore'] })
    t.after(() => child.kill('SIGKILL'))
    const lines = []
    createInterface({ input: child.stdout }).on('line', line => { lines.push(JSON.parse(line)); child.emit('printed') })
    const page = await open(t, first.url)
    await hasText(page, '.state.open', 'Connected')
    await until(child, 'printed', () => lines.length > 3)
    await first.stop()
    await when(page, () => document.querySelector('.state:not(.open)'))
    const printed = lines.length
    await replaying(t, now, '--listen', first.host)
    await until(child, 'printed', () => lines.length > printed + 3)
    complete(lines.at(-1).subsystems.connections)
    await hasText(page, '.state.open', 'Connected')
    await show(page, 'connections')
    await hasText(page, 'main', 'peer7')
  })

  test('a page of another port of this machine needs --allow-origin now, as the log says', async t => {
    const d = await daemon(t, [], { expect: [/^refused status=403 /] })
    const host = await daemon(t, [], { from: before.build })
    await assert.rejects(client(t, d.ws, { origin: host.url.slice(0, -1) }), /403/)
    await d.line(/allow_with="--allow-origin"/)
  })
})

describe(`what is new in ${now.version} with a daemon of ${before.version}`, limit, () => {
  test('introspect --totals: the daemon says everything, the totals are printed', async t => {
    const d = await replaying(t, before)
    const [s] = parsed(await introspect(now, '--json', '--totals', '--count', '1', d.ws))
    assert.equal(s.protocols.length, 3)
    assert.equal(s.subsystems.connections, undefined)
  })

  test('introspect --past says that the daemon remembers nothing', async t => {
    const d = await replaying(t, before)
    const { code, stderr } = await promisify(execFile)(join(now.build, 'introspect'), ['--past', '--json', d.ws]).catch(error => error)
    assert.equal(code, 1)
    assert.match(stderr, /remembers nothing: start introspectd with --remember/)
  })

  // That of go alone: others take longer to build than all of this file.
  for (const one of publishers.filter(p => p.name === 'go')) {
    test(`the publisher for ${one.name}`, { skip: one.skip }, async t => {
      const state = await fed(t, before, path => publisher(t, one, path, { peers: 2 }))
      assert.equal(state.subsystems.connections.length, 2)
    })
  }

  test('the bridge', { skip: !existsSync(join(build, 'introspect-bridge')) && 'make bridge' }, async t => {
    const kubo = await fakeNode(t)
    const state = await fed(t, before, path => {
      const child = spawn(join(now.build, 'introspect-bridge'), ['kubo', kubo.url, '--to', path], { stdio: ['ignore', 'inherit', 'ignore'] })
      t.after(async () => { child.kill(); await once(child, 'exit') })
    })
    assert.deepEqual(state.subsystems.connections.map(c => c.peerId), ['12D3KooWPeerA', '12D3KooWPeerB'])
  })
})

describe(`what ${before.version} had is in ${now.version}`, limit, () => {
  const help = of => spawnSync(join(of.build, of.program), ['--help'], { encoding: 'utf8' }).stdout
  const options = text => new Set(text.match(/(?<=[\s,[])--[a-z-]+/g))

  for (const program of ['introspectd', 'introspect']) {
    test(`every option of ${program}`, () => {
      const known = options(help({ ...now, program }))
      const old = options(help({ ...before, program }))
      assert.ok(old.size > 10)
      const missing = [...old].filter(o => !known.has(o))
      assert.deepEqual(missing, [])
    })
  }

  test('every metric and label', async t => {
    const series = async of => {
      const d = await replaying(t, of)
      await client(t, d.ws)
      const text = await (await fetch(`${d.url}metrics`)).text()
      return new Set(text.split('\n').filter(line => line && line[0] !== '#').map(line => line.slice(0, line.lastIndexOf(' ')).replace(/="[^"]*"/g, '')))
    }
    const known = await series(now)
    const old = await series(before)
    assert.ok(old.size > 20, `${old.size}`)
    assert.deepEqual([...old].filter(s => !known.has(s)), [])
  })

  test('every field of the schema, with its number and type', () => {
    const fields = ({ tree }) => {
      const all = new Map()
      const walk = space => {
        for (const field of space.fieldsArray ?? []) all.set(`${space.fullName}.${field.name}`, `${field.id} ${field.type} ${field.repeated}`)
        for (const [name, value] of Object.entries(space.values ?? {})) all.set(`${space.fullName}.${name}`, value)
        space.nestedArray?.forEach(walk)
      }
      walk(protobuf.loadSync(join(tree, 'introspection.proto')))
      return all
    }
    const known = fields(now)
    for (const [name, type] of fields(before)) assert.equal(known.get(name), type, name)
  })
})
