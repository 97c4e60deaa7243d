// What bundle.awk makes of modules, and that it refuses what it would make wrong.
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'

const script = fileURLToPath(new URL('../../dashboard/bundle.awk', import.meta.url))

function bundle (t, files) {
  const folder = mkdtempSync(join(tmpdir(), 'bundle-'))
  t.after(() => rmSync(folder, { recursive: true }))
  mkdirSync(join(folder, 'views'))
  for (const [name, text] of Object.entries(files)) writeFileSync(join(folder, name), text + '\n')
  const { status, stdout, stderr } = spawnSync('awk', ['-f', script, join(folder, 'app.js')], { encoding: 'utf8' })
  return { status, stdout, stderr }
}

test('modules become one that does the same', async t => {
  const { status, stdout, stderr } = bundle(t, {
    'app.js': "import view from './views/view.js';\nimport * as all from './b.js';\n" +
      "import { a as x, c } from './b.js';\n// A comment.\n" +
      "globalThis.bundled = [view.name, x(), c, all.a(), new all.D().e, '  // no comment'];   // a comment",
    'views/view.js': "import { b } from '../b.js';\nexport default {\n  name: `view ${b}`,\n};",
    'b.js': "export function a() {\n  return 'a';\n}\nexport const { b, c } = { b: 'b', c: 'c' };\n" +
      "export class D {\n  e = 'e';\n}"
  })
  assert.equal(stderr, '')
  assert.equal(status, 0)
  await import(`data:text/javascript,${encodeURIComponent(stdout)}`)
  assert.deepEqual(globalThis.bundled, ['view b', 'a', 'c', 'a', 'e', '  // no comment'])
  assert.doesNotMatch(stdout, /a comment/i)
})

test('blanks go where they say nothing, and stay where they do', async t => {
  const lines = [
    "'a = b ; c' + \"d = 'e' ; f\"", "`a = ${1 + 1} ; ${`b = ${'c = d'}`} = e`", '/a = [b ; c] & /.test("a = b & ")', "'it\\'s = 1' + ' = '",
    '1 + +1', '1 - -1', '[3].map(a => a++ + 1 - --a + -a)', "'a' + 1 + 'b'", '3 & 5', '5 / 2 / 5', '(a => a ? .5 : 1)(1)', "typeof [1 , 2] === 'object' && ! (1 in [1])", "[...'a b'] .length", "(x => { const { y = ' = ' , ...z } = x; return [y, z]; })({ a : 1 })",
    '(() => { for (const k of [1, 2]) if (k > 1) return -k; else continue; })()', '`a = b` + `c = d`', "'//' + ' / = /'"
  ]
  const { status, stdout } = bundle(t, { 'app.js': `globalThis.squeezed = [\n${lines.map(l => `  ${l},`).join('\n')}\n];` })
  assert.equal(status, 0)
  await import(`data:text/javascript,${encodeURIComponent(stdout)}`)
  // eslint-disable-next-line no-eval
  assert.deepEqual(globalThis.squeezed, lines.map(l => (0, eval)(`(${l})`)))
  assert.ok(stdout.includes('const{y='), stdout)
})

test('declarations in a row become one, and what a bracket makes needless goes', async t => {
  const lines = [
    'const f = (a) => {', '  const b = a + 1;', '  const { k } = { k: 3 };', '  const { c } = { c: b * 2 }, d = [', '    c,', '  ];', "  const e = '}', g = '(';", '  let last = 0;',
    '  for (const n of [1, 2]) {', '    last += n;', '  }', '  const h = [e, g].map((x) => {', "    return `${x};}`;", '  });', '  let i = ",]";', '  return [b, c, d, h, i, k, last,];', '};'
  ]
  const { status, stdout } = bundle(t, { 'app.js': `${lines.join('\n')}\nglobalThis.declared = f(1);` })
  assert.equal(status, 0)
  await import(`data:text/javascript,${encodeURIComponent(stdout)}`)
  // eslint-disable-next-line no-eval
  assert.deepEqual(globalThis.declared, (0, eval)(`${lines.join('\n').replace('const f =', '')}`.replace(/;$/, ''))(1))
  assert.match(stdout, /let b=a\+1,\{k\}=/)
  assert.doesNotMatch(stdout.replaceAll(/;\}`|',\]'|",\]"/g, ''), /[,;]\}|,\]/)
})

const b = 'export const a = 1;'
for (const [what, app, other = b] of [
  ['an import of several lines', "import {\n  a,\n} from './b.js';"],
  ['an import for its effects', "import './b.js';"],
  ['an import of two kinds', "import b, { a } from './b.js';", `export default {};\n${b}`],
  ['an import in double quotes', 'import { a } from "./b.js";'],
  ['an import from elsewhere', "import { a } from 'b';"],
  ['an import when it is wanted', "const b = await import('./b.js');"],
  ['where the module came from', 'const here = import.meta.url;'],
  ['a file that is missing', "import { a } from './c.js';"],
  ['a name that is not exported', "import { b } from './b.js';"],
  ['a default that is not exported', "import b from './b.js';"],
  ['a list of exports', 'const a = 1;\nexport { a };'],
  ['an export handed on', "export * from './b.js';"],
  ['an export that changes', 'export let a = 1;'],
  ['an export of several lines', 'export const {\n  a,\n} = {};'],
  ['a default with a name', 'export default function a() {\n}'],
  ['a generator', 'export function* a() {\n}'],
  ['a circle', "import { a } from './b.js';", `import { c } from './app.js';\n${b}`],
  ['a loop without a body', 'let i = 3;\nwhile (--i);'],
  ['a statement that does nothing', 'if (globalThis.a)\n  ;'],
  ['a template of several lines', 'const a = `\n  // text\n`;'],
  ['a string of several lines', "const a = 'a \\\n  b';"],
  ['what looks like a comment in a string', "const a = 'a   // b';"],
  ['what looks like a comment in a template', 'const a = `a   // b`;']
]) {
  test(`refused: ${what}`, t => {
    const { status, stderr } = bundle(t, { 'app.js': app, 'b.js': other })
    assert.match(stderr, /\.js:\d+: bundle\.awk cannot do this: /)
    assert.equal(status, 1)
  })
}
