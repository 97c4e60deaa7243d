// The systemd unit: what systemd-analyze says of it.
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'node:test'
import { build, folder, root } from './daemon.mjs'

const analyze = (...args) => spawnSync('systemd-analyze', args, { encoding: 'utf8', env: { ...process.env, LC_ALL: 'C' } })
const version = analyze('--version').stdout?.match(/^systemd (\d+)/)[1]
const unit = join(root, 'dist/introspectd.service')
const text = readFileSync(unit, 'utf8')
const stated = readFileSync(join(root, 'README.md'), 'utf8')
  .match(/`systemd-analyze security` \(systemd (\d+)\)\s+rates it (\d\.\d)/)

for (const [name, content] of [['as it is', text], ['with what it leaves out', text.replace(/^#(\w+=)/gm, '$1')]]) {
  test(`nothing to complain of, ${name}`, { skip: !version && 'no systemd-analyze' }, t => {
    const copy = join(folder(t), 'introspectd.service')
    assert.match(content, /^ExecStart=introspectd /m)
    writeFileSync(copy, content.replace('ExecStart=introspectd', `ExecStart=${build}/introspectd`))
    const { status, stdout, stderr } = analyze('verify', '--man=no', copy)
    assert.deepEqual({ status, stdout, stderr }, { status: 0, stdout: '', stderr: '' })
  })
}

test('its score is the one that the README tells', {
  skip: version !== stated[1] && `systemd-analyze ${version ?? 'is not there'}, not ${stated[1]}`
}, () => {
  const { stdout } = analyze('security', '--offline=true', '--no-pager', unit)
  assert.equal(stdout.match(/Overall exposure level for introspectd\.service: (\d\.\d)/)[1], stated[2])
})
