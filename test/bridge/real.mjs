// What tests with real nodes share.
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'

export async function freePort () {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address()
  server.close()
  return port
}

// What the two say at one time differs by what happened between them, so they are asked again.
export async function equal (told, printed) {
  let last
  for (const end = Date.now() + 100000; Date.now() < end; await sleep(200)) {
    const [a, b] = [await told(), await printed()]
    try { return assert.deepEqual(a, b) } catch (error) { last = error }
  }
  throw last
}

// The connection that pick finds in a client's snapshots, once it is as wanted.
export async function shows (c, pick, wanted) {
  let found
  for (const end = Date.now() + 60000; Date.now() < end;) {
    const { state } = await c.next()
    found = state.subsystems.connections.find(pick)
    if (found && wanted(found)) return found
  }
  assert.fail(`never: ${wanted}: ${JSON.stringify(found)}`)
}
