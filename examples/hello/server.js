// The example's web process. It answers every request with who it is: reload, kill it, and see the run number rise.
// Plain JavaScript without dependencies, so that any Node on the PATH can run it.
import { createServer } from 'node:http'

const { PORT = '0', HOLDFAST_INSTANCE_NAME, HOLDFAST_INSTANCE_ID, HOLDFAST_INCARNATION, GREETING = 'hello' } = process.env
const startedMs = Date.now()
let answered = 0

const server = createServer((request, response) => {
  if (request.url === '/health') {
    response.writeHead(200, { 'content-type': 'text/plain' }).end('ok\n')
    return
  }
  answered += 1
  const body = {
    greeting: GREETING,
    replica: HOLDFAST_INSTANCE_NAME ?? HOLDFAST_INSTANCE_ID ?? 'by itself',
    incarnation: Number(HOLDFAST_INCARNATION ?? 0),
    pid: process.pid,
    up_seconds: Math.round((Date.now() - startedMs) / 1000),
    answered,
  }
  response.writeHead(200, { 'content-type': 'application/json' }).end(`${JSON.stringify(body)}\n`)
})

server.listen(Number(PORT), '127.0.0.1', () => console.log(`listening on ${server.address().port} as process ${process.pid}`))

// Take no new requests, finish those under way, and go.
process.on('SIGTERM', () => {
  console.log('asked to stop')
  server.close(() => process.exit(0))
  server.closeIdleConnections()
})
