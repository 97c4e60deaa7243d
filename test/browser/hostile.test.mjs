// Whatever a node says of itself and of its peers is text.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { schema } from '../integration/daemon.mjs'
import { accessible, noOverflow, open, published, screenshot, show, snapshot, VIEWS, withBrowser } from './browser.mjs'

withBrowser()

const STRINGS = [
  '<img src=x onerror="window.harmed=1">', '"><script>window.harmed=1</script>', '\'-alert(1)-\'', 'javascript:window.harmed=1',
  '</textarea></title><svg onload=window.harmed=1>', '{{7*7}}${7*7}', '\u202egnirts\u202c \u0000\u0007', 'Z\u0351\u036b\u0343\u036aA\u0334\u0335\u031c',
  '__proto__', 'constructor', ' ', 'W'.repeat(4000), '<b>&lt;&amp;'.repeat(40)
]

// Fields of a State that are the daemon's to set.
const DAEMONS = new Set(['runtime', 'base', 'goneIds', 'same', 'counts'])

// A message of a type with every text field set to s, and numbers set to something.
function filled (type, s, depth = 0) {
  const value = {}
  for (const f of type.fieldsArray) {
    f.resolve()
    if (DAEMONS.has(f.name) || (depth > 4 && f.resolvedType?.fields) || f.partOf?.name === 'relayedOver') continue
    const one = f.resolvedType?.fields ? filled(f.resolvedType, s, depth + 1) : f.resolvedType ? 0
      : f.type === 'string' ? s : f.type === 'bytes' ? Buffer.from(s) : f.type === 'bool' ? true : 7
    value[f.name] = f.repeated ? [one] : one
  }
  return value
}

test('hostile strings in every text field are shown as text, in every view', { timeout: 240000 }, async t => {
  const runtime = schema.lookupType('introspection.Runtime')
  const state = schema.lookupType('introspection.State')
  const messages = [{ runtime: { ...filled(runtime, STRINGS[0]), eventTypes: STRINGS.map(s => s.slice(0, 48)).map(name => ({ name, propertyTypes: [{ name, type: 11, hasMultiple: true }] })) } }]
  messages.push(...STRINGS.map(s => s.slice(0, 48)).map((s, i) => ({ event: { type: { name: s }, ts: Date.now() + i, content: JSON.stringify({ [s]: [s, s], s, nested: { [s]: null } }) } })))
  const all = STRINGS.map(s => filled(state, s))
  const merged = { ...all[0], instantTs: Date.now() }
  for (const list of ['addresses', 'protocols', 'topics', 'resources']) merged[list] = all.flatMap(x => x[list])
  merged.subsystems = { connections: all.flatMap((x, i) => x.subsystems.connections.map(c => ({ ...c, id: Buffer.from([i]) }))), dht: { ...all[0].subsystems.dht, buckets: all.map((x, cpl) => ({ ...x.subsystems.dht.buckets[0], cpl })) } }
  messages.push({ state: merged })
  const d = await published(t, messages, ['--interval', '50'])
  const page = await open(t, d.url)
  await snapshot(page)
  const elements = () => page.evaluate(() => [...new Set([...document.querySelectorAll('*')].map(el => el.localName))])
  const fine = new Set(('html head meta title link script body a header img div p span button form input datalist option dl dt dd nav label main h1 h2 h3 ' +
    'section svg path rect ul ol li i b strong select table thead tbody tr th td footer aside figure figcaption pre line circle ellipse g text details summary kbd textarea code').split(' '))
  const visible = async (view, wanted) => {
    const missing = strings => strings.filter(s => !document.querySelector('#main').textContent.includes(s) && !document.querySelector(`#main [aria-label^="${CSS.escape(s)}"]`))
    // The page's policy forbids to wait for a text of JavaScript.
    for (const end = Date.now() + 60_000; Date.now() < end && (await page.evaluate(missing, wanted)).length;) await page.waitForTimeout(100)
    assert.deepEqual(await page.evaluate(missing, wanted), [], view)
    assert.equal(await page.evaluate(() => window.harmed), undefined, view)
    const strange = (await elements()).filter(name => !fine.has(name))
    assert.deepEqual(strange, [], view)
    assert.equal(await page.evaluate(() => document.querySelectorAll('script').length), 1)
    assert.equal(await page.evaluate(() => document.querySelectorAll('img').length), 1)
    assert.ok(await page.evaluate(() => [...document.querySelectorAll('a')].every(a => a.getAttribute('href').startsWith('#'))))
    await noOverflow(page, view)
    await screenshot(page, `hostile-${view}`)
  }
  const wanted = {
    overview: [STRINGS[0], STRINGS[1], STRINGS[3]], peers: [STRINGS[0], STRINGS[1]], connections: [STRINGS[0], STRINGS[1], STRINGS[4]], streams: [STRINGS[0], STRINGS[5]],
    dht: [STRINGS[0]], topics: STRINGS.slice(0, 6), events: [STRINGS[0], STRINGS[4]], swarm: [], fleet: [STRINGS[0]]
  }
  for (const view of VIEWS) {
    await show(page, view)
    await visible(view, wanted[view])
  }
  await show(page, 'connections')
  for (let i = 0; i < STRINGS.length; i++) {
    await page.click(`[aria-rowindex="${i + 2}"] [role=gridcell]`)
    await visible(`connection ${i}`, [])
    await page.press('.panel', 'Escape')
  }
  await show(page, 'overview')
  await accessible(page, 'hostile overview')
})
