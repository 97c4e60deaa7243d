// Firefox passes a part of the tests of the page, too: it opens, pulls, keeps what it had over a
// reload, filters, goes back in time, selects ranges by mouse and by key, and is accessible at
// 400 %. BROWSER=firefox runs any other.
import assert from 'node:assert/strict'
import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { test } from 'node:test'
import { root } from '../integration/daemon.mjs'
import { firefoxPath } from './browser.mjs'

// The first with network.addDataCollector of WebDriver BiDi, which Playwright calls.
const OLDEST = 143
const version = execFileSync(firefoxPath, ['--version'], { encoding: 'utf8' }).match(/\d+/)[0]
const skip = version < OLDEST && `Firefox ${version} is older than ${OLDEST}, which Debian's archive of security updates has`

const PARTS = {
  'answers.test.mjs': ['each question', 'a range is selected by', 'a range is selected, changed', 'keys: views', 'at 200 and 400 %', 'a part of the past'],
  'connect.test.mjs': ['ready is said once']
}

for (const [file, names] of Object.entries(PARTS)) {
  test(`in Firefox: ${file}`, { skip, timeout: 450_000 }, async t => {
    const { NODE_TEST_CONTEXT, ...env } = process.env
    const child = spawn(process.execPath, ['--test', '--test-reporter=tap', ...names.map(name => `--test-name-pattern=${name}`), join(root, 'test/browser', file)],
      { env: { ...env, BROWSER: 'firefox' }, stdio: ['ignore', 'pipe', 'inherit'] })
    t.after(() => child.kill())
    let said = ''
    child.stdout.on('data', data => { said += data })
    const [code] = await once(child, 'close')
    assert.equal(code, 0, said)
    assert.match(said, new RegExp(`^# pass ${names.length}$`, 'm'), said)
  })
}
