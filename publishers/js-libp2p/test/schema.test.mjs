import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'

test('the schema that the package carries is the project\'s (else: npm run schema)', () => {
  const read = (path) => readFileSync(new URL(path, import.meta.url), 'utf8')
  assert.equal(read('../introspection.proto'), read('../../../introspection.proto'))
})
