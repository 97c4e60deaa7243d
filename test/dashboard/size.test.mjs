import assert from 'node:assert/strict'
import { readFileSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { gunzipSync } from 'node:zlib'
import { build } from '../integration/daemon.mjs'

const LIMIT = 64 * 1024
const folder = join(build, 'served')
const files = readdirSync(folder).filter(name => name.endsWith('.gz'))

test('the whole page stays under 64 KiB on the wire', t => {
  const sum = files.reduce((n, name) => n + readFileSync(join(folder, name)).length, 0)
  t.diagnostic(`${files.length} files, ${sum} bytes gzipped`)
  assert.ok(files.includes('index.html.gz'))
  assert.ok(sum < LIMIT, `${sum} bytes`)
})

test('nothing inline, nothing from elsewhere', () => {
  for (const name of files) {
    const text = gunzipSync(readFileSync(join(folder, name))).toString()
    assert.doesNotMatch(text, /innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function/, name)
    assert.doesNotMatch(text, /((src|href)=|url\(|(import|from)\s+(?=['"]))['"]?(https?:)?\/\//, name)
    if (name === 'index.html.gz') assert.doesNotMatch(text, /\son\w+=|\sstyle=|<style|<script(?![^>]*\ssrc=)/)
  }
})
