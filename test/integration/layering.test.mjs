// Which parts may know of which, by the symbols of the object files.
import assert from 'node:assert/strict'
import { execFileSync, spawnSync } from 'node:child_process'
import { join } from 'node:path'
import test from 'node:test'
import { build } from './daemon.mjs'

// What compilers and the C library add: sanitizers, stack protector, fortified forms of the same
// function, and those for large files.
const ADDED = /^(__(asan|ubsan|stack_chk)_\w+|__odr_asan[._]\w+|_GLOBAL_OFFSET_TABLE_)$/

function symbols (object) {
  const file = join(build, object)
  const lines = execFileSync('nm', ['--format=posix', '--extern-only', file], { encoding: 'utf8' })
  const all = lines.trim().split('\n').map(line => line.split(' ')).filter(([name]) => !ADDED.test(name))
  const plain = ([name]) => name.replace(/^__(\w+)_chk$/, '$1').replace(/^(fstat|open)64$/, '$1')
  return {
    imports: all.filter(([, type]) => type === 'U').map(plain),
    exports: all.filter(([, type]) => type !== 'U').map(plain)
  }
}

const MEMORY = 'mem(chr|cmp|cpy|move|set)|str(r?chr|cmp|cpy|len|ncasecmp)'
const SCHEMA = '(introspection_|protobuf_c)_\\w+'

// object: what it may export, what it may import.
const parts = {
  'base/head.o': [/^head_/, `${MEMORY}|ws_text_is`],
  'ws.o': [/^ws_/, `${MEMORY}|head_\\w+|mbedtls_sha1|mbedtls_sha1_ret|mbedtls_base64_(en|de)code`],
  'client/handshake.o': [/^handshake_/, `${MEMORY}|head_\\w+|ws_\\w+|mbedtls_base64_encode`],
  'snapshot.o': [/^snapshot_/, `${MEMORY}|${SCHEMA}|wire_\\w+|malloc|free|__assert_fail`],
  'endpoint/command.o': [/^commands?_/, `${MEMORY}|${SCHEMA}|(history|json|wire|ws|log)_\\w+|calloc|malloc|free`],
  'endpoint/deflate.o': [/^deflate_(accept|forms)$/, `${MEMORY}|(head|ws|difference)_\\w+|wishes_forms|(de|in)flate(Init2_|Reset|End)?|malloc|free`],
  'endpoint/history.o': [/^history_/, `${MEMORY}|calloc|malloc|free`],
  'endpoint/json.o': [/^json_/, MEMORY],
  'endpoint/introspect.o': [/^introspect_endpoint$/, `${MEMORY}|strerror|(commands?|complete|wire|log)_\\w+|malloc|free|__errno_location`],
  'endpoint/networks.o': [/^networks_endpoint$/, `${MEMORY}|str(error|ncmp|spn|tok_r)|__strtok_r|inet_pton|file_read|log_event|http_head|malloc|free|__errno_location`],
  'endpoint/past.o': [/^past_/, `${MEMORY}|${SCHEMA}|complete_state|wire_\\w+|malloc|free`],
  'endpoint/remember.o': [/^remember_endpoint$/, `${MEMORY}|strerror|snprintf|(past|log|http)_\\w+|parts_forms|__errno_location`],
  'endpoint/metrics.o': [/^metrics_/, `${MEMORY}|v?snprintf|(totals|counters)_\\w+|http_reasons`],
  'endpoint/scrape.o': [/^scrape_endpoint$/, `${MEMORY}|(metrics|http)_\\w+`],
  'guard/token.o': [/^token_guard$/, `${MEMORY}|file_warn_readable|address_text|(log|auth|http)_\\w+`],
  'base/buffers.o': [/^buffers_/, `${MEMORY}|calloc|free`],
  'base/counters.o': [/^counters_/, 'none'],
  'endpoint/totals.o': [/^totals_/, `${MEMORY}|wire_\\w+|__assert_fail`],
  'base/http.o': [/^http_/, `${MEMORY}|v?snprintf|inet_pton|gmtime_r|strftime|log_\\w+|ws_\\w+`],
  'endpoint/files.o': [/^files_answer$/, `${MEMORY}|http_refuse|dashboard_\\w+|ws_\\w+`],
  'base/log.o': [/^log_/, `${MEMORY}|v?snprintf|fstat|open|poll|write|__errno_location`],
  'source/complete.o': [/^complete_(state|message)$/, `${MEMORY}|wire_\\w+`],
  'source/put.o': [/^wire_/, `${MEMORY}|${SCHEMA}`],
  'source/wire.o': [/^wire_/, `${MEMORY}|${SCHEMA}|wire_put_varint|wire_not_utf8`]
}

for (const [object, [own, others]] of Object.entries(parts)) {
  test(object, () => {
    const { imports, exports } = symbols(object)
    assert.ok(exports.length > 0)
    assert.deepEqual(exports.filter(name => !own.test(name)), [])
    assert.deepEqual(imports.filter(name => !new RegExp(`^(${others})$`).test(name)), [])
  })
}

test('the loop knows none of the parts that may be left out', () => {
  const { imports, exports } = symbols('introspectd.o')
  assert.deepEqual(exports, ['main'])
  assert.deepEqual(imports.filter(name => /^(tls|auth|commands?|metrics|history|feed|replay)_/.test(name)), [])
})

// One kind of stream, no endpoint but the pull protocol, one source, no page.
test('the core is made of nothing else', () => {
  const names = execFileSync('nm', ['--format=posix', join(build, 'core/introspectd')], { encoding: 'utf8' })
  const found = names.match(/^(tls|auth|commands?|metrics|totals|history|feed|replay|token|secure|scrape|past|remember|networks|files|file|sandbox|difference|wishes|deflate)_\w+/gm)
  assert.equal(found, null)
  assert.match(names, /^kernel_open /m)
  for (const option of ['--feed', '--token-file', '--tls-cert', '--remember', '--user']) {
    const { status, stderr } = spawnSync(join(build, 'core/introspectd'), [option, 'x'], { encoding: 'utf8' })
    assert.deepEqual([status, stderr], [2, `introspectd: ${option}: no such option, or more than one that begins so: see --help\n`])
  }
})
