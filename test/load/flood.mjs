// Starts the program flood, and makes what it sends.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { build } from '../integration/daemon.mjs'

// bytes, again and again, 64 KiB of it or one more.
export const many = bytes => Buffer.concat(Array(Math.ceil(65536 / bytes.length)).fill(bytes))

const SETTINGS = { chunk: '-c', ms: '-m', total: '-n', rate: '-p', ends: '-e' }

// A flood of connections to a port. start, repeat: bytes; cut, deaf: flags; the rest
// as flood.c has it. end() stops it, unless total did, and tells what it did.
export function flood (port, connections, { start = '', repeat = '', cut, deaf, ...settings } = {}) {
  const path = mkdtempSync(join(tmpdir(), 'introspectd-'))
  writeFileSync(join(path, 'start'), start)
  writeFileSync(join(path, 'repeat'), repeat)
  const args = ['-s', join(path, 'start'), '-r', join(path, 'repeat'), ...cut ? ['-x'] : [], ...deaf ? ['-d'] : []]
  for (const [name, value] of Object.entries(settings)) args.push(SETTINGS[name], `${value}`)
  const child = spawn(join(build, 'test/load/flood'), [...args, `${port}`, `${connections}`],
    { stdio: ['pipe', 'pipe', 'inherit'] })
  const closed = once(child, 'close')
  let out = ''
  child.stdout.on('data', data => { out += data })
  child.stdin.on('error', () => {})
  const done = closed.then(([code]) => {
    rmSync(path, { recursive: true, force: true })
    if (code !== 0) throw new Error(`flood: ${code}`)
    return JSON.parse(out)
  })
  done.catch(() => {})
  return { child, done, end: () => { child.stdin.end(); return done } }
}
