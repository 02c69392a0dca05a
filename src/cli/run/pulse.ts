// GET /metrics and GET /health of a process that has no API; it answers nothing else. Health is open, as everywhere; metrics are for this
// machine, and for whoever has the token of this agent: they name what runs here.
import { createHash, timingSafeEqual } from 'node:crypto'
import { createServer, type IncomingMessage } from 'node:http'
import { isLoopback } from '../../base/loopback.ts'
import { err, ok, type Result } from '../../base/result.ts'
import type { HostPort } from '../../contracts/config.ts'
import { type Failure, failure } from '../../contracts/errors.ts'
import { errnoOf } from '../errno.ts'

export interface Pulse {
  readonly url: string
  close(): Promise<void>
}

export interface PulseSources {
  /** What a bearer from elsewhere has to show for the metrics. */
  readonly token: string
  readonly metrics: () => Promise<string>
  readonly health: () => { readonly status: string; readonly detail: string }
  /** A source threw; whoever asked got a 500. */
  readonly failed: (error: unknown) => void
}

const REQUEST_MS = 10_000

export async function servePulse(listen: HostPort, sources: PulseSources): Promise<Result<Pulse, Failure>> {
  const answer = async ({
    method = '',
    url = '',
    socket,
    headers,
  }: IncomingMessage): Promise<readonly [status: number, type: string, body: string]> => {
    const [where = ''] = url.split('?')
    if (method !== 'GET' && method !== 'HEAD') return [405, 'text/plain', 'only GET\n']
    if (where === '/metrics' && !mayRead(socket.remoteAddress, headers.authorization, sources.token))
      return [401, 'text/plain', 'metrics need the token of this agent (Authorization: Bearer …), except from this machine itself\n']
    if (where === '/metrics') return [200, 'text/plain; version=0.0.4; charset=utf-8', await sources.metrics()]
    if (where !== '/health') return [404, 'text/plain', 'there are /metrics and /health\n']
    const { status, detail } = sources.health()
    return [
      status === 'unhealthy' ? 503 : 200,
      'application/json',
      `${JSON.stringify({ status, checks: { agent: { status, detail } } })}\n`,
    ]
  }
  const server = createServer({ requestTimeout: REQUEST_MS, headersTimeout: REQUEST_MS }, (request, response) => {
    answer(request).then(
      ([status, type, body]) =>
        response
          .writeHead(status, { 'content-type': type, ...(status === 401 && { 'www-authenticate': 'Bearer' }) })
          .end(request.method === 'HEAD' ? '' : body),
      (error: unknown) => {
        sources.failed(error)
        response.writeHead(500).end()
      },
    )
  })
  const listening = await new Promise<Result<void, Failure>>((resolve) => {
    server.once('error', (error) => resolve(err(listenFailure(error, listen))))
    server.listen(listen.port, listen.host, () => resolve(ok(undefined)))
  })
  if (!listening.ok) return listening
  const address = server.address()
  const port = typeof address === 'object' && address !== null ? address.port : listen.port
  const host = listen.host.includes(':') ? `[${listen.host}]` : listen.host
  return ok({
    url: `http://${host}:${port}`,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  })
}

export function mayRead(remoteAddress: string | undefined, authorization: string | undefined, token: string): boolean {
  if (isLoopback(remoteAddress)) return true
  const [, given] = /^bearer (\S+)$/i.exec(authorization ?? '') ?? []
  // Of one length, so that the comparison tells nothing of the token.
  return given !== undefined && token !== '' && timingSafeEqual(digest(given), digest(token))
}

const digest = (text: string): Buffer => createHash('sha256').update(text).digest()

function listenFailure(error: unknown, { host, port }: HostPort): Failure {
  const code = errnoOf(error)
  if (code === 'EADDRINUSE') return failure('port_in_use', `${host}:${port} is already in use.`, { port }, error)
  return failure('invalid_input', `Cannot listen on ${host}:${port} (${code}).`, { field: '--listen' }, error)
}
