// The table of publishers/README.md, a row per field of the schema and a column per teller, held
// against what running nodes tell.
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'

const [head, , ...rows] = readFileSync(new URL('../README.md', import.meta.url), 'utf8')
  .match(/^\| field of the State \|.*\n(?:\|.*\n)+/m)[0].trimEnd().split('\n')
  .map(line => line.split('|').slice(1, -1).map(cell => cell.trim()))

/** What a column says of each field: undefined where it is not told. */
function column (name) {
  const index = head.indexOf(name)
  assert.ok(index > 0, `no column for ${name}`)
  return new Map(rows.map(cells => [cells[0].replaceAll('`', ''), cells[index] === '–' ? undefined : cells[index]]))
}

const name = path => path.replace(/[A-Z]/g, letter => `_${letter.toLowerCase()}`)
  .replace(/^subsystems\./, '')
  .replace(/^connections\.streams\.streams/, 'streams')
  .replace(/traffic\.traffic_(in|out)/, 'traffic')
  .replace(/^(dht\.\w+_queries)\..*/, '$1')
  .replace(/^runtime\.event_types\..*/, 'runtime.event_types')

// What the daemon fills in.
const DAEMONS = /^(sequence|runtime\.(source|hostname|interval_ms|quic|counted_since)|connections\.(unlisted|kernel_traffic))$/

/** Adds to `told` the names of the fields that a decoded State fills in. */
export function collect (told, value, path = '') {
  if (value !== null && typeof value === 'object' && !Buffer.isBuffer(value) && !('low' in value)) {
    for (const [key, member] of Object.entries(value)) {
      for (const one of [member].flat()) collect(told, one, path ? `${path}.${key}` : key)
    }
  } else if (Buffer.isBuffer(value) ? value.length > 0 : Number(value) !== 0 || typeof value === 'string' && value !== '') {
    told.add(name(path))
  }
}

/**
 * The column is true of what was told in a test. `elsewhere`: fields that this test does not bring
 * about, which other tests of the publisher do.
 */
export function isTrue (teller, told, elsewhere = []) {
  const says = column(teller)
  const unknown = [...told].filter(field => !says.has(field) && !DAEMONS.test(field))
  assert.deepEqual(unknown, [], 'fields without a row')
  assert.deepEqual([...told].filter(field => says.has(field) && says.get(field) === undefined), [], `${teller} tells more than its column`)
  assert.deepEqual([...says].filter(([field, cell]) => cell !== undefined && !told.has(field) && !elsewhere.includes(field))
    .map(([field]) => field), [], `${teller} does not tell what its column says`)
}
