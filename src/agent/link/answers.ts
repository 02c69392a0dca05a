// Requests of control under way on one connection: bounded in number, streams and short ones apart, each with its own signal and its own window, all of them ended
// when the connection is. A chunk waits until the reader has room for it, and then for its turn at the socket; so output that nobody
// reads stays where it comes from and holds up no other request. Exactly one reply per request, unless the connection is gone.
import type { Logger } from '../../base/log.ts'
import { type AgentRequest, type FromAgent, isStream, type ReplyChunk, type Stats, tooMany } from '../../contracts/agent-protocol.ts'
import { type Failure, failure } from '../../contracts/errors.ts'
import type { GarbageReport } from '../../contracts/garbage.ts'
import { chunkCost, SendWindow } from '../../contracts/stream-window.ts'
import type { LINK_LIMITS } from './limits.ts'

export interface Answer {
  readonly error: Failure | null
  readonly exitCode: number | null
  readonly stats: Stats | null
  readonly lostBytes: number | null
  readonly incarnation?: number
  readonly gc?: GarbageReport
}

/** Hands on one chunk. Resolves when it is on its way, or when the request is ending and nothing is handed on any more. */
export type SendChunk = (chunk: ReplyChunk) => Promise<void>

export type OnRequest = (request: AgentRequest, send: SendChunk, signal: AbortSignal) => Promise<Answer>

/** The writing side of a connection. */
export interface Outlet {
  send(message: FromAgent): void
  /** Sends it when little is buffered, in the order of asking. Resolves when it was sent, or never will be: aborted, or no connection. */
  sendInTurn(message: FromAgent, signal: AbortSignal): Promise<void>
}

export interface Answers {
  begin(requestId: string, request: AgentRequest, windowBytes: number): void
  /** The reader has taken so much; for a request that has ended it means nothing. */
  credit(requestId: string, bytes: number): void
  cancel(requestId: string): void
  /** Aborts all; resolves when they have ended. Nothing is sent any more. */
  end(reason: Error): Promise<void>
}

interface Running {
  readonly stream: boolean
  readonly controller: AbortController
  readonly window: WaitingWindow
  readonly done: Promise<void>
}

export function createAnswers(outlet: Outlet, onRequest: OnRequest, limits: typeof LINK_LIMITS, log: Logger): Answers {
  const running = new Map<string, Running>()
  let ended = false

  const reply = (requestId: string, { error, ...rest }: Answer) => {
    if (!ended) outlet.send({ type: 'reply', requestId, error: error && wireFailure(error), ...rest })
  }
  const run = async (requestId: string, request: AgentRequest, window: WaitingWindow, signal: AbortSignal) => {
    const send: SendChunk = async (chunk) => {
      if (await window.pass(chunkCost(chunk))) await outlet.sendInTurn({ type: 'chunk', requestId, chunk }, signal)
    }
    let answer: Answer
    try {
      answer = await onRequest(request, send, signal)
    } catch (error) {
      if (!signal.aborted)
        log.error('request failed', {
          op: request.op,
          ...('instanceId' in request && { instance_id: request.instanceId }),
          error: String(error),
        })
      answer = failed(
        signal.aborted ? failure('cancelled', 'The request was cancelled.') : failure('internal', 'The agent could not answer.', {}, error),
      )
    }
    reply(requestId, answer)
  }

  const refuse = (stream: boolean): Failure | null => {
    const limit = stream ? limits.streamsMax : limits.shortRequestsMax
    const open = [...running.values()].filter((one) => one.stream === stream).length
    return open < limit ? null : failure('too_many_requests', tooMany(stream, open), { limit })
  }

  return {
    begin(requestId, request, windowBytes) {
      if (ended || running.has(requestId)) return
      const stream = isStream(request)
      const refused = refuse(stream)
      if (refused) return reply(requestId, failed(refused))
      const controller = new AbortController()
      const window = new WaitingWindow(windowBytes, controller.signal)
      const done = run(requestId, request, window, controller.signal).finally(() => running.delete(requestId))
      running.set(requestId, { stream, controller, window, done })
    },
    credit: (requestId, bytes) => running.get(requestId)?.window.grant(bytes),
    cancel: (requestId) => running.get(requestId)?.controller.abort(new Error('cancelled by the control plane')),
    async end(reason) {
      ended = true
      const all = [...running.values()]
      for (const { controller } of all) controller.abort(reason)
      await Promise.all(all.map(({ done }) => done))
    },
  }
}

/** The window of one request and those who wait at it, in their order. */
class WaitingWindow {
  readonly #window: SendWindow
  readonly #signal: AbortSignal
  readonly #waiting: { readonly cost: number; readonly resolve: (passed: boolean) => void }[] = []

  constructor(windowBytes: number, signal: AbortSignal) {
    this.#window = new SendWindow(windowBytes)
    this.#signal = signal
    signal.addEventListener('abort', () => this.#open(), { once: true })
  }

  /** False when the request is ending. */
  pass(cost: number): Promise<boolean> {
    if (this.#signal.aborted) return Promise.resolve(false)
    if (this.#waiting.length === 0 && this.#window.spend(cost)) return Promise.resolve(true)
    return new Promise((resolve) => this.#waiting.push({ cost, resolve }))
  }

  grant(bytes: number): void {
    this.#window.grant(bytes)
    for (let next = this.#waiting[0]; next && this.#window.spend(next.cost); next = this.#waiting[0]) {
      this.#waiting.shift()
      next.resolve(true)
    }
  }

  #open(): void {
    for (const { resolve } of this.#waiting.splice(0)) resolve(false)
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
