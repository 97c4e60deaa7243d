// What the compiler and the linker were told to put into the programs that are used.
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'node:test'
import { root } from './daemon.mjs'

const folder = join(root, process.env.SANDBOX_BUILD ?? 'build')

for (const name of ['introspectd', 'introspect']) {
  const program = join(folder, name)
  const skip = !existsSync(program) ? `${program} has not been built`
    : /__asan_init/.test(readFileSync(program, 'latin1')) && `${program} has a sanitizer in it`
  const shown = (tool, ...options) => execFileSync(tool, [...options, program], { encoding: 'utf8', maxBuffer: 1 << 26 })

  test(`${name}: where it lies in memory, and what may be done there`, { skip }, () => {
    const segments = shown('readelf', '-lW')
    assert.match(segments, /file type is DYN/)
    assert.match(segments, /^ +GNU_RELRO /m)
    assert.match(segments, /^ +GNU_STACK .* RW +0x/m)
    assert.doesNotMatch(segments, / RWE /)
    const dynamic = shown('readelf', '-dW')
    assert.match(dynamic, /\(FLAGS\) +BIND_NOW/)
    assert.match(dynamic, /\(FLAGS_1\) +Flags: NOW PIE/)
    assert.doesNotMatch(dynamic, /TEXTREL|RPATH|RUNPATH/)
  })

  test(`${name}: checks at run time`, { skip }, () => {
    const symbols = shown('readelf', '--dyn-syms', '-W')
    assert.match(symbols, / __stack_chk_fail@/)
    assert.match(symbols, / __snprintf_chk@/)
  })

  test(`${name}: probes of large frames, and landing pads`, { skip: skip || (process.arch !== 'x64' && 'not x86-64') }, () => {
    const code = shown('objdump', '-d', '--no-show-raw-insn')
    assert.match(code, /<main>:\n.*\tendbr64/)
    assert.match(code, /\torq +\$0x0,\(%rsp\)/)
  })
}
