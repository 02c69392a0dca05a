// Requests of control under way on one connection: bounded in number and in buffered bytes, each with its own signal, all of them
// ended when the connection is. Exactly one reply per request, unless the connection is gone.
import type { Logger } from '../../base/log.ts'
import type { AgentRequest, FromAgent, ReplyChunk, Stats } from '../../contracts/agent-protocol.ts'
import { type Failure, failure } from '../../contracts/errors.ts'
import type { LINK_LIMITS } from './limits.ts'

export interface Answer {
  readonly error: Failure | null
  readonly exitCode: number | null
  readonly stats: Stats | null
  readonly lostBytes: number | null
}

export interface Reply {
  /** Always takes the chunk, unless the request is ending; false = wait for `drained` before the next. */
  chunk(chunk: ReplyChunk): boolean
  drained(): Promise<void>
}

export type OnRequest = (request: AgentRequest, reply: Reply, signal: AbortSignal) => Promise<Answer>

/** The writing side of a connection. */
export interface Outlet {
  send(message: FromAgent): void
  bufferedBytes(): number
  /** Resolves when fewer bytes are buffered, or the connection is gone. */
  below(bytes: number): Promise<void>
}

export interface Answers {
  begin(requestId: string, request: AgentRequest): void
  cancel(requestId: string): void
  /** Aborts all; resolves when they have ended. Nothing is sent any more. */
  end(reason: Error): Promise<void>
}

export function createAnswers(outlet: Outlet, onRequest: OnRequest, limits: typeof LINK_LIMITS, log: Logger): Answers {
  const running = new Map<string, { readonly controller: AbortController; readonly done: Promise<void> }>()
  let ended = false

  const reply = (requestId: string, { error, ...rest }: Answer) => {
    if (!ended) outlet.send({ type: 'reply', requestId, error: error && wireFailure(error), ...rest })
  }
  const run = async (requestId: string, request: AgentRequest, controller: AbortController) => {
    const { signal } = controller
    let overrun = false
    const chunk = (given: ReplyChunk) => {
      if (ended || signal.aborted) return false
      outlet.send({ type: 'chunk', requestId, chunk: given })
      if (outlet.bufferedBytes() > limits.requestBytesMax) {
        overrun = true
        controller.abort(new Error('the reader is too slow'))
      }
      return outlet.bufferedBytes() <= limits.waitAboveBytes
    }
    let answer: Answer
    try {
      answer = await onRequest(request, { chunk, drained: () => outlet.below(limits.goOnBelowBytes) }, signal)
    } catch (error) {
      if (!signal.aborted) log.error('request failed', { op: request.op, instance_id: request.instanceId, error: String(error) })
      answer = failed(
        signal.aborted ? failure('cancelled', 'The request was cancelled.') : failure('internal', 'The agent could not answer.', {}, error),
      )
    }
    reply(requestId, overrun ? failed(failure('cancelled', 'The output came faster than its reader took it.')) : answer)
  }

  return {
    begin(requestId, request) {
      if (ended || running.has(requestId)) return
      if (running.size >= limits.requestsMax)
        return reply(
          requestId,
          failed(failure('too_many_requests', `${limits.requestsMax} requests to this node are under way.`, { limit: limits.requestsMax })),
        )
      const controller = new AbortController()
      const done = run(requestId, request, controller).finally(() => running.delete(requestId))
      running.set(requestId, { controller, done })
    },
    cancel: (requestId) => running.get(requestId)?.controller.abort(new Error('cancelled by the control plane')),
    async end(reason) {
      ended = true
      const all = [...running.values()]
      for (const { controller } of all) controller.abort(reason)
      await Promise.all(all.map(({ done }) => done))
    },
  }
}

const failed = (error: Failure): Answer => ({ error, exitCode: null, stats: null, lostBytes: null })

/** What travels: the cause stays here. */
function wireFailure({ code, detail, fields }: Failure): Exclude<Extract<FromAgent, { type: 'reply' }>['error'], null> {
  if (!fields) return { code, detail }
  return {
    code,
    detail,
    fields: Object.fromEntries(Object.entries(fields).map(([key, value]) => [key, typeof value === 'object' ? [...value] : value])),
  }
}
