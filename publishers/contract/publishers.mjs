// The publishers that must keep the contract, and how each is started. A program gets
// `--feed PATH --peers N`, publishes a libp2p node to PATH to which N others connect, and prints
// the lines `publishing PEER`, `listening MULTIADDR` for each address, `connected PEER` for each
// of the N, and `ready`. It ends when its standard input does.
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

// command: called once, when a test needs it; skip: why the publisher cannot be tested here.
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
      env: { ...process.env, HOME: userInfo().homedir } // where its caches are, whatever HOME a test has
    })
    return [join(folder, 'contract')]
  }
}]

const only = process.env.PUBLISHERS?.split(' ')
const commands = new Map()

export const publishers = TABLE.filter(({ name }) => only?.includes(name) ?? true)

/** The running program of a publisher; `told` are the words that followed each keyword. */
export async function run (t, publisher, feed, { peers = 0 } = {}) {
  if (!commands.has(publisher)) {
    commands.set(publisher, publisher.command())
  }
  const [program, ...args] = commands.get(publisher)
  const child = spawn(program, [...args, '--feed', feed, '--peers', String(peers)], { stdio: ['pipe', 'pipe', 'inherit'] })
  const exit = once(child, 'exit')
  const told = { publishing: [], listening: [], connected: [] }

  async function kill () {
    child.kill('SIGKILL')
    await exit
  }
  t.after(kill)

  for await (const line of createInterface({ input: child.stdout })) {
    const [keyword, value] = line.split(' ')
    if (keyword === 'ready') {
      return { child, exit, kill, peerId: told.publishing[0], addresses: told.listening, peers: told.connected }
    }
    told[keyword].push(value)
  }
  assert.fail(`${publisher.name} ended before it was ready`)
}
