// Streams: NDJSON output of logs and exec, and the event stream. Nothing is repeated here except the event stream, which
// resumes after the last event it delivered.
import { backoffMs } from '../base/backoff.ts'
import { err, ok, type Result } from '../base/result.ts'
import { type Failure, failure } from '../contracts/errors.ts'
import { ROUTES, type Route } from '../contracts/routes.ts'
import { EventView, StreamLine } from '../contracts/views.ts'
import { answerToFailure, parseJson, problemToFailure, transportFailure } from './failures.ts'
import { CLIENT_LIMITS } from './limits.ts'
import { readLines } from './lines.ts'
import { buildInit, buildUrl, type CallOptions, readText, retryBudgetMs, type Transport } from './request.ts'
import { readServerEvents } from './sse.ts'

export interface OutputChunk {
  readonly stream: 'stdout' | 'stderr'
  /** RFC 3339; null where the runtime keeps no times. */
  readonly at: string | null
  readonly data: Buffer
  /** Bytes of this stream missing right before `data`: a bounded log dropped them before this reader came to them. */
  readonly lostBytes: number
}
export interface StreamEnd {
  readonly exitCode: number | null
  /** Log bytes that bounded files had dropped before this reader came to them, those told with chunks among them. */
  readonly lostBytes: number | null
  /** Of logs: whose output it was; null where nobody knows. */
  readonly incarnation: number | null
}
export type OnChunk = (chunk: OutputChunk) => void | Promise<void>
export type OnEvent = (event: EventView) => void | Promise<void>

export interface EventsOptions {
  /** Only events after this cursor; null or absent = from the first one kept. */
  readonly after?: string | null
  readonly instance?: string
  /** True: go on for ever, over reconnects, until the signal. False: what there is now. */
  readonly follow: boolean
  readonly signal?: AbortSignal
  /** The stream was lost and is being opened again. */
  readonly onReconnect?: (why: Failure) => void
}

async function open(
  transport: Transport,
  route: Route,
  options: CallOptions,
  headers: Readonly<Record<string, string>>,
): Promise<Result<Response, Failure>> {
  const url = buildUrl(transport.url, route, options)
  const init = buildInit(transport, route, options, headers)
  try {
    const response = await transport.fetch(url, { ...init, ...(options.signal && { signal: options.signal }) })
    if (response.ok) return ok(response)
    return err(answerToFailure(response.status, response.headers.get('content-type'), await readText(response), url))
  } catch (error) {
    return err(transportFailure(error, transport.url))
  }
}

/** Chunks in order, one after the other: a slow `onChunk` slows the sender. */
export async function readOutput(
  transport: Transport,
  route: Route,
  options: CallOptions,
  onChunk: OnChunk,
): Promise<Result<StreamEnd, Failure>> {
  const opened = await open(transport, route, options, { accept: 'application/x-ndjson' })
  if (!opened.ok) return options.signal?.aborted ? err(failure('cancelled', 'The stream was given up.')) : opened
  try {
    for await (const text of readLines(opened.value.body ?? new ReadableStream(), CLIENT_LIMITS.lineBytesMax)) {
      // An empty line only shows that the connection lives.
      if (text === '') continue
      const line = StreamLine.safeParse(parseJson(text))
      if (!line.success)
        return err(failure('internal', 'The server sent a line that is not of this protocol; are both of the same version?'))
      if ('error' in line.data) return err(problemToFailure(line.data.error))
      if ('end' in line.data) {
        const { exit_code: exitCode, lost_bytes: lostBytes, incarnation = null } = line.data
        return ok({ exitCode, lostBytes, incarnation })
      }
      const { stream, at, data, lost_bytes = 0 } = line.data
      await onChunk({ stream, at, data: Buffer.from(data, 'base64'), lostBytes: lost_bytes })
    }
    return err(failure('control_unreachable', `${transport.url} ended the stream before its end.`, { url: transport.url }))
  } catch (error) {
    return err(options.signal?.aborted ? failure('cancelled', 'The stream was given up.') : transportFailure(error, transport.url))
  }
}

/** Every event after the cursor, once and in order. Resolves with the cursor to go on from. */
export async function readEvents(transport: Transport, options: EventsOptions, onEvent: OnEvent): Promise<Result<string | null, Failure>> {
  let cursor = options.after ?? null
  let failures = 0
  let everOpened = false
  const startedMs = transport.clock.elapsedMs()
  for (;;) {
    const seen = await readOneConnection(transport, options, cursor, async (event) => {
      await onEvent(event)
      cursor = event.cursor
      failures = 0
    })
    if (options.signal?.aborted) return ok(cursor)
    if (seen.opened) everOpened = true
    if (FINAL.has(seen.why.code)) return err(seen.why)
    failures += 1
    const waitMs = backoffMs(CLIENT_LIMITS.reconnectBackoff, failures, transport.random.fraction())
    // A first connection that fails for longer than a call may is the caller's to hear about; later ones are mended.
    if (!everOpened && transport.clock.elapsedMs() - startedMs + waitMs > retryBudgetMs(transport, seen.why)) return err(seen.why)
    if (everOpened) options.onReconnect?.(seen.why)
    try {
      await transport.clock.sleep(waitMs, options.signal)
    } catch {
      return ok(cursor)
    }
  }
}

const FINAL: ReadonlySet<string> = new Set(['unauthenticated', 'forbidden', 'not_found', 'invalid_input', 'cancelled'])

/** Ends only by being cut: the stream has no end of its own. */
async function readOneConnection(
  transport: Transport,
  options: EventsOptions,
  cursor: string | null,
  onEvent: (event: EventView) => Promise<void>,
): Promise<{ opened: boolean; why: Failure }> {
  const silence = new AbortController()
  const signal = options.signal ? AbortSignal.any([options.signal, silence.signal]) : silence.signal
  let cancel = () => {}
  const alive = () => {
    cancel()
    cancel = transport.clock.after(CLIENT_LIMITS.eventsSilenceMs, () => silence.abort())
  }
  alive()
  let opened = false
  try {
    const query = { ...(options.instance !== undefined && { instance: options.instance }), ...(cursor !== null && { after: cursor }) }
    const headers = { accept: 'text/event-stream', ...(cursor !== null && { 'last-event-id': cursor }) }
    const response = await open(transport, ROUTES.listEvents, { query, signal }, headers)
    if (!response.ok) return { opened, why: response.error }
    opened = true
    for await (const event of readServerEvents(response.value.body ?? new ReadableStream(), CLIENT_LIMITS.lineBytesMax)) {
      alive()
      // The server says `closing` when this reader was too slow or when it shuts down; both mean: come back.
      if (event === null || event.event === 'closing') continue
      const view = EventView.safeParse(parseJson(event.data))
      if (!view.success) return { opened, why: failure('internal', 'The server sent an event that is not of this protocol.') }
      await onEvent(view.data)
    }
    return { opened, why: failure('control_unreachable', `${transport.url} ended the event stream.`) }
  } catch (error) {
    return { opened, why: transportFailure(error, transport.url) }
  } finally {
    cancel()
  }
}
