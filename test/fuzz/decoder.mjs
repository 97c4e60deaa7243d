// The dashboard's decoder and its reader of recordings, for FUZZ_SECONDS (60): mutations
// of the seeds from a stated number. Bytes are decoded, or refused with a DecodeError.
// Usage: node decoder.mjs [SEED]. With FUZZ_SECONDS=0 only the corpus is replayed.
import assert from 'node:assert/strict'
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { build } from '../integration/daemon.mjs'
import { encode, fullState, load, random } from '../dashboard/page.mjs'

const { DecodeError, codec, decode } = await load('decode.js')
const { readRecording } = await load('recording.js')
const outline = codec({ ServerMessage: ['state'], State: ['sequence', 'instant_ts'] })

const corpus = join(import.meta.dirname, 'corpus/decoder.mjs')
const files = readdirSync(corpus).sort().map(name => new Uint8Array(readFileSync(join(corpus, name))))
const seeds = [...files, encode(fullState(1, 2))]
const seconds = Number(process.env.FUZZ_SECONDS ?? 60)
const seed = Number(process.argv[2] ?? Date.now() % 2 ** 32)
const below = random(seed)
const interesting = [0, 1, 7, 8, 0x0b, 0x0c, 0x7f, 0x80, 0xff]

function mutate (from) {
  const other = seeds[below(seeds.length)]
  let bytes = Uint8Array.from(from)
  for (let n = 1 + below(8); n > 0 && bytes.length > 0; n--) {
    const at = below(bytes.length), end = at + below(Math.min(16, bytes.length - at) + 1)
    switch (below(5)) {
      case 0: bytes[at] ^= 1 << below(8); break
      case 1: bytes[at] = interesting[below(interesting.length)]; break
      case 2: bytes = bytes.slice(0, at); break
      case 3: bytes = Uint8Array.from([...bytes.subarray(0, at), ...bytes.subarray(end)]); break
      case 4: bytes = Uint8Array.from([...bytes.subarray(0, end), ...other.subarray(below(other.length))])
    }
  }
  return bytes.subarray(0, 65536)
}

let refused = 0
function attempt (bytes) {
  const { messages } = readRecording(bytes)
  for (const one of [bytes, ...messages]) {
    for (const from of [{ decode }, outline]) {
      try {
        from.decode('ServerMessage', one)
      } catch (error) {
        assert(error instanceof DecodeError, error)
        refused++
      }
    }
  }
}

for (const bytes of files) attempt(bytes)
let runs = 0
const began = performance.now(), end = began + seconds * 1000
for (; performance.now() < end; runs++) {
  const bytes = mutate(seeds[below(seeds.length)])
  const start = performance.now()
  try {
    attempt(bytes)
    assert(performance.now() - start < 5000, 'took longer than 5 s')
  } catch (error) {
    const file = join(build, `decoder.mjs-${seed}-${runs}`)
    writeFileSync(file, bytes)
    console.error(`seed ${seed}, run ${runs}: ${error.stack}\n${file}`)
    process.exit(1)
  }
}
console.log(`decoder.mjs: ${files.length} inputs${seconds > 0 ? `, ${runs} mutations of them from seed ${seed}` : ''}, ${refused} refused`)
