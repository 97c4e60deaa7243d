// SECURITY.md: each sentence on what holds names its tests, and they exist.
import assert from 'node:assert/strict'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'node:test'
import { root } from './daemon.mjs'

const text = readFileSync(join(root, 'SECURITY.md'), 'utf8')
const holds = text.slice(text.indexOf('## What holds'), text.indexOf('## What does not hold'))
const items = holds.split(/\n- /).slice(1).map(item => item.split('\n\n')[0].replace(/\s+/g, ' '))

test('every sentence names its tests', () => {
  assert.ok(items.length >= 18)
  for (const item of items) assert.match(item, /\[[^\]]+\]/)
})

test('the tests that it names exist', () => {
  for (const item of items) {
    for (const [, list] of item.matchAll(/\[([^\]]+)\]/g)) {
      for (const reference of list.split('; ')) {
        const [, file, name] = reference.match(/^(\S+)(?: "([^"]+)")?$/) ?? assert.fail(reference)
        const path = join(root, 'test', file)
        assert.ok(existsSync(path), file)
        const names = [...readFileSync(path, 'utf8').matchAll(/\((['`])(.*?)(?<!\\)\1, /g)].map(match => match[2])
        if (name) assert.ok(names.some(each => each.startsWith(name)), reference)
      }
    }
  }
})
