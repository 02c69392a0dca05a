// GET /metrics and GET /health of a process that has no API. Loopback needs no token; it answers nothing else.
import { createServer } from 'node:http'
import { err, ok, type Result } from '../../base/result.ts'
import type { HostPort } from '../../contracts/config.ts'
import { type Failure, failure } from '../../contracts/errors.ts'
import { errnoOf } from '../errno.ts'

export interface Pulse {
  readonly url: string
  close(): Promise<void>
}

export interface PulseSources {
  readonly metrics: () => Promise<string>
  readonly health: () => { readonly status: string; readonly detail: string }
  /** A source threw; whoever asked got a 500. */
  readonly failed: (error: unknown) => void
}

const REQUEST_MS = 10_000

export async function servePulse(listen: HostPort, sources: PulseSources): Promise<Result<Pulse, Failure>> {
  const answer = async (method: string, url: string): Promise<readonly [status: number, type: string, body: string]> => {
    const [where = ''] = url.split('?')
    if (method !== 'GET' && method !== 'HEAD') return [405, 'text/plain', 'only GET\n']
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
    answer(request.method ?? '', request.url ?? '').then(
      ([status, type, body]) => response.writeHead(status, { 'content-type': type }).end(request.method === 'HEAD' ? '' : body),
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

function listenFailure(error: unknown, { host, port }: HostPort): Failure {
  const code = errnoOf(error)
  if (code === 'EADDRINUSE') return failure('port_in_use', `${host}:${port} is already in use.`, { port }, error)
  return failure('invalid_input', `Cannot listen on ${host}:${port} (${code}).`, { field: '--listen' }, error)
}
