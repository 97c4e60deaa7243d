// What tests with real nodes share.
import assert from 'node:assert/strict'
import { randomInt } from 'node:crypto'
import { once } from 'node:events'
import { createServer } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'

// Below the ports that the kernel gives to whoever asks for any: nobody gets it before it is used.
export async function freePort () {
  for (;;) {
    const port = randomInt(10000, 32000)
    const server = createServer().listen(port, '127.0.0.1')
    try {
      await once(server, 'listening')
    } catch { continue }
    server.close()
    return port
  }
}

// What the two say at one time differs by what happened between them, so they are asked again.
export async function equal (told, printed) {
  let last
  for (const end = Date.now() + 100000; Date.now() < end; await sleep(200)) {
    try { return assert.deepEqual(await told(), await printed()) } catch (error) { last = error }
  }
  throw last
}

// The connection that pick finds in a client's snapshots, once it is as wanted.
export async function shows (c, pick, wanted) {
  let found
  for (const end = Date.now() + 100000; Date.now() < end;) {
    const { state } = await c.next()
    found = state.subsystems.connections.find(pick)
    if (found && wanted(found)) return found
  }
  assert.fail(`never: ${wanted}: ${JSON.stringify(found)}`)
}

// A node that gets no processor for seconds gives up a dial: made again until it is connected.
export async function persist (attempt) {
  for (const end = Date.now() + 100000; ; await sleep(500)) {
    try { return await attempt() } catch (error) { if (Date.now() > end) throw error }
  }
}
