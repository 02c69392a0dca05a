// Logs, exec and stats: asked of the agent that has the instance, over its link.
// Logs and exec are NDJSON lines as they come; a failure before the first line is an ordinary problem answer, one after it is the
// last line. A client that does not read is waited for without an end, and the workload's output with it. When the client goes away
// the agent is told to stop.
import { durationText } from '../../base/duration-text.ts'
import { err, ok, type Result } from '../../base/result.ts'
import type { AgentRequest, ReplyChunk } from '../../contracts/agent-protocol.ts'
import { type Failure, failure } from '../../contracts/errors.ts'
import { parseDuration } from '../../contracts/units.ts'
import type { StreamLine } from '../../contracts/views.ts'
import type { InstanceRecord } from '../model/instance.ts'
import type { OrgScope } from '../model/org.ts'
import { statsView, timeOf } from '../model/views.ts'
import { findInstance } from '../store/instances.ts'
import type { Handlers, RawExchange, StreamHandlers } from './context.ts'
import type { ApiDeps } from './deps.ts'
import type { Link } from './link.ts'
import type { AgentReply, Exchange } from './link-requests.ts'
import { problemOf } from './problem.ts'
import { endInTime, writeOut } from './raw-stream.ts'
import { withinStoreTime } from './store-time.ts'

type Deps = ApiDeps & { readonly link: Link }

export function outputHandlers(deps: Deps): Pick<Handlers, 'statsInstance'> & Pick<StreamHandlers, 'logsInstance' | 'execInstance'> {
  return {
    async logsInstance({ params, query, scope, signal, requestId }, raw) {
      const sinceMs = sinceOf(deps, query.since)
      if (!sinceMs.ok) return sinceMs
      const exchange = await ask(deps, params.id, scope, (instance) => ({
        op: 'logs',
        instanceId: instance.id,
        follow: query.follow ?? false,
        previous: query.previous ?? false,
        tailLines: query.tail ?? null,
        sinceMs: sinceMs.value,
      }))
      return exchange.ok ? pipe(deps, exchange.value, raw, signal, { requestId, about: params.id }) : exchange
    },
    async execInstance({ params, body, scope, signal, requestId }, raw) {
      const exchange = await ask(deps, params.id, scope, (instance) => ({
        op: 'exec',
        instanceId: instance.id,
        command: body.command,
        stdin: body.stdin === undefined ? null : Buffer.from(body.stdin, 'utf8').toString('base64'),
        timeoutMs: body.timeout_ms,
        user: body.user ?? null,
      }))
      return exchange.ok ? pipe(deps, exchange.value, raw, signal, { requestId, about: params.id }) : exchange
    },
    async statsInstance({ params, scope, signal }) {
      const exchange = await ask(deps, params.id, scope, (instance) => ({ op: 'stats', instanceId: instance.id }))
      if (!exchange.ok) return exchange
      const end = await lastOf(deps, exchange.value, deps.limits.statsMs, signal)
      if (!end.ok) return end
      return end.value.stats ? ok({ body: statsView(end.value.stats) }) : err(failure('internal', 'The agent answered without figures.'))
    },
  }
}

async function ask(
  deps: Deps,
  ref: string,
  scope: OrgScope,
  request: (instance: InstanceRecord) => AgentRequest,
): Promise<Result<Exchange, Failure>> {
  const found = await withinStoreTime(deps, findInstance(deps.store.db, ref, scope), false)
  if (!found.ok) return found
  const { nodeId, name } = found.value
  if (nodeId === null)
    return err(failure('wrong_state', `${name} is on no node yet, so there is nothing to ask.`, { state: found.value.phase.kind }))
  return deps.link.request(nodeId, request(found.value))
}

/** A time (RFC 3339), or how long ago: `5m`. */
function sinceOf(deps: Deps, text: string | undefined): Result<number | null, Failure> {
  if (text === undefined) return ok(null)
  const spanMs = parseDuration(text)
  if (spanMs !== undefined) return ok(deps.clock.wallMs() - spanMs)
  const atMs = /^\d{4}-\d{2}-\d{2}/.test(text) ? Date.parse(text) : Number.NaN
  if (!Number.isNaN(atMs)) return ok(atMs)
  return err(failure('invalid_input', 'since: must be a time such as 2026-01-31T10:00:00Z, or a duration such as 5m', { field: 'since' }))
}

/** The end of an exchange without output, within the time an agent has for it. */
export async function lastOf(
  deps: Pick<ApiDeps, 'clock'>,
  exchange: Exchange,
  deadlineMs: number,
  signal: AbortSignal,
): Promise<Result<AgentReply, Failure>> {
  let late = false
  const cancel = deps.clock.after(deadlineMs, () => {
    late = true
    exchange.cancel()
  })
  const onAbort = () => exchange.cancel()
  signal.addEventListener('abort', onAbort, { once: true })
  try {
    for (;;) {
      const step = await exchange.next()
      if ('end' in step)
        return late ? err(failure('node_unreachable', `The node did not answer within ${durationText(deadlineMs)}.`)) : step.end
    }
  } finally {
    cancel()
    signal.removeEventListener('abort', onAbort)
  }
}

const lineOf = (line: StreamLine): string => `${JSON.stringify(line)}\n`
const endLine = ({ exitCode, lostBytes, incarnation }: AgentReply): StreamLine => ({
  end: true,
  exit_code: exitCode,
  lost_bytes: lostBytes,
  ...(incarnation !== null && { incarnation }),
})
const chunkLine = (chunk: ReplyChunk): string =>
  lineOf({
    stream: chunk.stream,
    at: chunk.atMs === null ? null : timeOf(chunk.atMs),
    data: chunk.data,
    ...(chunk.lostBytes > 0 && { lost_bytes: chunk.lostBytes }),
  })

/** Writes what comes until the end. Null once headers are out; before that a failure can still have its own status. */
async function pipe(
  deps: Deps,
  exchange: Exchange,
  { response }: RawExchange,
  signal: AbortSignal,
  { requestId, about }: { readonly requestId: string; readonly about: string },
): Promise<Result<null, Failure>> {
  const { clock, limits } = deps
  response.socket?.setKeepAlive(true, limits.outputKeepAliveMs)
  const head = () => {
    if (!response.headersSent)
      response.writeHead(200, { 'content-type': 'application/x-ndjson', 'cache-control': 'no-store', 'x-request-id': requestId })
  }
  const onAbort = () => exchange.cancel()
  signal.addEventListener('abort', onAbort, { once: true })
  // A quiet `follow` must not look like a server that does not answer, nor like a connection that died.
  const cancelPulse = pulse(deps, response)
  const cancelHead = clock.after(limits.streamHeadMs, () => {
    if (response.destroyed) return
    head()
    response.flushHeaders()
  })
  try {
    if (signal.aborted) onAbort()
    for (;;) {
      const step = await exchange.next()
      if ('chunk' in step) {
        head()
        if (await writeOut(response, chunkLine(step.chunk), clock, null)) continue
        exchange.cancel()
        return ok(null)
      }
      if (!step.end.ok && !response.headersSent && !signal.aborted) return step.end
      if (response.destroyed) return ok(null)
      head()
      const last: StreamLine = step.end.ok ? endLine(step.end.value) : { error: problemOf(step.end.error, requestId, about) }
      response.write(lineOf(last))
      endInTime(response, clock, signal)
      return ok(null)
    }
  } finally {
    cancelHead()
    cancelPulse()
    signal.removeEventListener('abort', onAbort)
  }
}

/** An empty line now and then, once the head is out; clients and proxies give up connections that are quiet for minutes. */
function pulse({ clock, limits }: Deps, response: RawExchange['response']): () => void {
  let cancel = () => {}
  const beat = () => {
    if (response.destroyed || response.writableEnded) return
    if (response.headersSent && !response.writableNeedDrain) response.write('\n')
    cancel = clock.after(limits.eventHeartbeatMs, beat)
  }
  cancel = clock.after(limits.eventHeartbeatMs, beat)
  return () => cancel()
}
