// One HTTP exchange over the route table, and its repetition. Promised: a mutation carries one Idempotency-Key over all its tries,
// so a repeated one is executed once; nothing else that changes something is ever repeated; every try and the whole are bounded.
import { backoffMs } from '../base/backoff.ts'
import type { Clock, Random } from '../base/clock.ts'
import { durationText } from '../base/duration-text.ts'
import { err, ok, type Result } from '../base/result.ts'
import { type Failure, failure } from '../contracts/errors.ts'
import { ROUTES, type Route } from '../contracts/routes.ts'
import { answerToFailure, isRefused, transportFailure } from './failures.ts'
import { CLIENT_LIMITS } from './limits.ts'

export type Fetch = (url: string, init: RequestInit) => Promise<Response>
export type QueryValue = string | number | boolean | undefined

export interface Transport {
  readonly url: string
  readonly token: string | null
  readonly clock: Clock
  readonly random: Random
  readonly fetch: Fetch
  readonly requestMs: number
  readonly retryMs: number
}

export interface CallOptions {
  readonly params?: Readonly<Record<string, unknown>>
  readonly query?: Readonly<Record<string, QueryValue>>
  readonly body?: unknown
  /** Made up when absent; give one to repeat a call over the life of several processes. */
  readonly idempotencyKey?: string
  /** The version the object must still have. */
  readonly ifMatch?: number
  readonly signal?: AbortSignal
}

export interface Answer {
  readonly status: number
  readonly text: string
}

export function buildUrl(base: string, route: Pick<Route, 'path'>, options: Pick<CallOptions, 'params' | 'query'>): string {
  const path = route.path.replace(/:([a-z_]+)/g, (_, name: string) => encodeURIComponent(String(options.params?.[name])))
  const query = new URLSearchParams()
  for (const [key, value] of Object.entries(options.query ?? {})) if (value !== undefined) query.set(key, String(value))
  return `${base}${path}${query.size > 0 ? `?${query}` : ''}`
}

export function buildInit(
  transport: Transport,
  route: Route,
  options: CallOptions,
  headers: Readonly<Record<string, string>>,
): RequestInit {
  const key = route.mutation ? (options.idempotencyKey ?? `key_${transport.random.text(24)}`) : undefined
  return {
    method: route.method,
    redirect: 'error',
    headers: {
      accept: 'application/json',
      ...(transport.token !== null && { authorization: `Bearer ${transport.token}` }),
      ...(options.body !== undefined && { 'content-type': 'application/json' }),
      ...(key !== undefined && { 'idempotency-key': key }),
      ...(options.ifMatch !== undefined && { 'if-match': `"${options.ifMatch}"` }),
      ...headers,
    },
    ...(options.body !== undefined && { body: JSON.stringify(options.body) }),
  }
}

/** Sends until an answer comes that repeating cannot better, or the time is up. */
export async function exchange(transport: Transport, route: Route, options: CallOptions): Promise<Result<Answer, Failure>> {
  const { clock } = transport
  const url = buildUrl(transport.url, route, options)
  const init = buildInit(transport, route, options, {})
  const repeatable = route.method === 'GET' || route.mutation === true
  const startedMs = clock.elapsedMs()
  for (let failures = 1; ; failures += 1) {
    const got = await tryOnce(transport, url, init, options.signal)
    if (got.ok || !repeatable || options.signal?.aborted) return got
    const waitMs = backoffMs(CLIENT_LIMITS.retryBackoff, failures, transport.random.fraction())
    if (clock.elapsedMs() - startedMs + waitMs > retryBudgetMs(transport, got.error)) return got
    try {
      await clock.sleep(waitMs, options.signal)
    } catch {
      return got
    }
  }
}

const TRANSIENT: ReadonlySet<string> = new Set(['control_unreachable', 'store_unavailable', 'shutting_down'])

/** How long a request that failed so may be repeated; negative = not at all. */
export function retryBudgetMs(transport: Transport, given: Failure): number {
  if (!TRANSIENT.has(given.code)) return -1
  return isRefused(given) ? Math.min(CLIENT_LIMITS.refusedRetryMs, transport.retryMs) : transport.retryMs
}

async function tryOnce(
  transport: Transport,
  url: string,
  init: RequestInit,
  signal: AbortSignal | undefined,
): Promise<Result<Answer, Failure>> {
  const deadline = new AbortController()
  const cancel = transport.clock.after(transport.requestMs, () => deadline.abort())
  try {
    const response = await transport.fetch(url, { ...init, signal: signal ? AbortSignal.any([signal, deadline.signal]) : deadline.signal })
    const text = await readText(response)
    // An unhealthy platform answers what was asked: how it is.
    const told =
      response.status === 503 && url.endsWith(ROUTES.health.path) && response.headers.get('content-type')?.includes('problem') !== true
    if (response.ok || told) return ok({ status: response.status, text })
    return err(answerToFailure(response.status, response.headers.get('content-type'), text, url))
  } catch (error) {
    if (signal?.aborted) return err(failure('cancelled', 'The call was given up before an answer came.', undefined, error))
    if (deadline.signal.aborted)
      return err(
        failure('control_unreachable', `${transport.url} did not answer within ${durationText(transport.requestMs)}.`, {
          url: transport.url,
        }),
      )
    return err(transportFailure(error, transport.url))
  } finally {
    cancel()
  }
}

/** The whole body as text; a body beyond the bound is an error, not memory. */
export async function readText(response: Response): Promise<string> {
  if (response.body === null) return ''
  const chunks: Uint8Array[] = []
  let bytes = 0
  for await (const chunk of response.body) {
    bytes += chunk.byteLength
    if (bytes > CLIENT_LIMITS.answerBytesMax) throw new Error(`the answer is larger than ${CLIENT_LIMITS.answerBytesMax} bytes`)
    chunks.push(chunk)
  }
  return Buffer.concat(chunks).toString('utf8')
}
