// The publishers that must keep the contract, and how each is started. A program gets
// `--feed PATH --peers N`, publishes a libp2p node to PATH to which N others connect, and prints
// the lines `publishing PEER`, `listening MULTIADDR` (with /p2p/PEER) for each address, `connected
// PEER` for each of the N, and `ready`. It ends when its standard input does.
//
// With `--swarm` the node listens over TCP (Noise, yamux) and, where it can, QUIC, runs identify, a
// server of the DHT `/introspectd/kad/1.0.0` that makes no queries of its own (they would connect to
// others), and gossipsub with a subscription to `weather`, and sends back what it gets over
// `/echo/1.0.0`. It then takes lines of standard input, one at a time: `dial MULTIADDR` connects,
// `echo PEER BYTES` sends so many bytes over a new stream `/echo/1.0.0` that stays open, and waits
// until they are back. When it is done it prints `done` and the line.
import assert from 'node:assert/strict'
import { execFileSync, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir, userInfo } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'

const here = path => fileURLToPath(new URL(path, import.meta.url))
const go = process.env.GO || 'go'
const cargo = process.env.CARGO || 'cargo'
const python = process.env.PYTHON || 'python3'
// Where the caches of compilers are, whatever HOME a test has.
const env = { ...process.env, HOME: userInfo().homedir }

// command: called once, when a test needs it; skip: why the publisher cannot be tested here; alone:
// its program does not know `--swarm`; many: how many connections it is tried with, if not a thousand.
const TABLE = [{
  name: 'js',
  command: () => [process.execPath, here('../js-libp2p/test/contract.mjs')]
}, {
  name: 'go',
  skip: spawnSync(go, ['version']).status !== 0 && 'no go',
  command () {
    const folder = mkdtempSync(join(tmpdir(), 'contract-'))
    process.once('exit', () => rmSync(folder, { recursive: true }))
    execFileSync(go, ['build', '-o', folder, './internal/contract'], {
      cwd: here('../go-libp2p'),
      stdio: 'inherit',
      env
    })
    return [join(folder, 'contract')]
  }
}, {
  name: 'rust',
  skip: spawnSync(cargo, ['--version'], { env }).status !== 0 && 'no cargo',
  command () {
    const built = execFileSync(cargo, ['build', '--example', 'contract', '--message-format', 'json'], {
      cwd: here('../rust-libp2p'),
      stdio: ['ignore', 'pipe', 'inherit'],
      env,
      maxBuffer: 64 * 1024 * 1024
    })
    return built.toString().split('\n').filter(Boolean).map(line => JSON.parse(line))
      .filter(({ target, executable }) => target?.name === 'contract' && executable).map(({ executable }) => executable)
  }
}, {
  name: 'py',
  skip: spawnSync(python, ['-c', 'import libp2p, introspectd_publisher']).status !== 0 && 'no py-libp2p',
  many: 100, // a thousand take py-libp2p 52 s of CPU, nine times what js-libp2p takes: minutes on a busy machine
  alone: true, // no swarm
  command: () => [python, here('../py-libp2p/test/contract.py')]
}]

const only = process.env.PUBLISHERS?.split(' ')
const commands = new Map()

export const publishers = TABLE.filter(({ name }) => only?.includes(name) ?? true)

/** The command of a publisher. Its program is built first, for minutes in which this process does nothing else. */
export function built (publisher) {
  if (!commands.has(publisher)) {
    commands.set(publisher, publisher.command())
  }
  return commands.get(publisher)
}

/**
 * The running program of a publisher. The words that followed each keyword are in `peerId`,
 * `addresses` and `peers`; `tell` has a line obeyed.
 */
export async function run (t, publisher, feed, { peers = 0, swarm = false } = {}) {
  const [program, ...args] = built(publisher)
  const child = spawn(program, [...args, '--feed', feed, '--peers', String(peers), ...swarm ? ['--swarm'] : []], { stdio: ['pipe', 'pipe', 'inherit'] })
  const exit = once(child, 'exit')
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]()
  const told = { publishing: [], listening: [], connected: [] }

  async function kill () {
    child.kill('SIGKILL')
    await exit
  }
  t.after(kill)

  const next = async () => {
    const { value, done } = await lines.next()
    assert.ok(!done, `${publisher.name} ended`)
    return value
  }
  const tell = async line => {
    child.stdin.write(`${line}\n`)
    assert.equal(await next(), `done ${line}`)
  }

  for (;;) {
    const [keyword, value] = (await next()).split(' ')
    if (keyword === 'ready') {
      return { name: publisher.name, child, exit, kill, tell, peerId: told.publishing[0], addresses: told.listening, peers: told.connected }
    }
    told[keyword].push(value)
  }
}
