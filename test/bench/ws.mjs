// ws.mjs BYTES [CERT KEY]: the pull protocol with the ws library, a new frame each 10 ms.
import { readFileSync } from 'node:fs'
import http from 'node:http'
import https from 'node:https'
import { WebSocketServer } from 'ws'

const INTERVAL_MS = 10
const frame = Buffer.alloc(Number(process.argv[2]))
const waiting = new Set()
let latest = 1
let nextTake = 0
let timer

function take () {
  timer = undefined
  latest++
  nextTake = performance.now() + INTERVAL_MS
  for (const socket of [...waiting]) send(socket)
}

function send (socket) {
  waiting.delete(socket)
  socket.number = latest
  socket.send(frame)
}

function ready (socket) {
  if (latest > socket.number) return send(socket)
  waiting.add(socket)
  timer ??= setTimeout(take, nextTake - performance.now())
}

const [cert, key] = process.argv.slice(3).map(file => readFileSync(file))
const listener = cert ? https.createServer({ cert, key }) : http.createServer()
const server = new WebSocketServer({ server: listener, perMessageDeflate: false })
server.on('connection', socket => {
  socket.number = 0
  socket.on('message', () => ready(socket))
  socket.on('close', () => waiting.delete(socket))
  ready(socket)
})
listener.listen({ host: '127.0.0.1', port: 0, backlog: 4096 },
  () => console.log(`listening url=http://127.0.0.1:${listener.address().port}/`))
