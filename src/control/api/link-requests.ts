// Questions to an agent and their answers. Per request: chunks in order, then exactly one end. What the reader has not taken yet is
// bounded by the window of the request (contracts/stream-window.ts): a reader that stands still makes the agent wait, for as long as
// it likes, and loses nothing.
import { err, ok, type Result } from '../../base/result.ts'
import {
  type AgentRequest,
  type FromAgent,
  type FromControl,
  isStream,
  type ReplyChunk,
  type Stats,
  tooMany,
} from '../../contracts/agent-protocol.ts'
import { type Failure, failure } from '../../contracts/errors.ts'
import type { GarbageReport } from '../../contracts/garbage.ts'
import { chunkCost, ReceiveWindow } from '../../contracts/stream-window.ts'

export interface AgentReply {
  readonly exitCode: number | null
  readonly stats: Stats | null
  readonly lostBytes: number | null
  readonly incarnation: number | null
  readonly gc: GarbageReport | null
}

/** Answers as they come. Always ends; `next` may be called again only after it resolved. */
export interface Exchange {
  next(): Promise<{ readonly chunk: ReplyChunk } | { readonly end: Result<AgentReply, Failure> }>
  /** The reader is gone: the agent is told to stop. */
  cancel(): void
}

export interface RequestTableOptions {
  readonly newRequestId: () => string
  /** False = the connection is gone or full. Credits and cancels are sent however full it is. */
  readonly send: (message: FromControl) => boolean
  readonly windowBytes: number
  readonly openMax: number
  /** How many of them may be streams. */
  readonly streamsMax: number
}

interface Pending {
  readonly stream: boolean
  readonly chunks: ReplyChunk[]
  readonly window: ReceiveWindow
  end: Result<AgentReply, Failure> | null
  wake: () => void
}

export class RequestTable {
  readonly #options: RequestTableOptions
  readonly #pending = new Map<string, Pending>()

  constructor(options: RequestTableOptions) {
    this.#options = options
  }

  open(request: AgentRequest): Result<Exchange, Failure> {
    const { newRequestId, send, windowBytes } = this.#options
    const stream = isStream(request)
    const refused = this.#refuse(stream)
    if (refused) return err(refused)
    const requestId = newRequestId()
    const one: Pending = { stream, chunks: [], window: new ReceiveWindow(windowBytes), end: null, wake: () => {} }
    this.#pending.set(requestId, one)
    if (send({ type: 'request', requestId, request, windowBytes }))
      return ok({ next: () => this.#next(requestId, one), cancel: () => this.#cancel(requestId, one) })
    this.#pending.delete(requestId)
    return err(failure('node_unreachable', 'The connection to the node is gone or full.'))
  }

  /** A chunk or a reply; one that belongs to nothing is dropped. A failure when the agent sent more than it was granted. */
  take(message: Extract<FromAgent, { type: 'chunk' | 'reply' }>): Failure | undefined {
    const one = this.#pending.get(message.requestId)
    if (!one) return undefined
    if (message.type === 'reply') {
      this.#finish(message.requestId, endOf(message))
      return undefined
    }
    if (!one.window.receive(chunkCost(message.chunk)))
      return failure('invalid_input', 'The agent sent more output than the window of the request allows.')
    one.chunks.push(message.chunk)
    one.wake()
    return undefined
  }

  /** Ends all that are open. */
  fail(given: Failure): void {
    for (const requestId of [...this.#pending.keys()]) this.#finish(requestId, err(given))
  }

  #refuse(stream: boolean): Failure | null {
    const { openMax, streamsMax } = this.#options
    const streams = [...this.#pending.values()].filter((one) => one.stream).length
    const [open, limit] = stream ? [streams, streamsMax] : [this.#pending.size - streams, openMax - streamsMax]
    return open < limit ? null : failure('too_many_requests', tooMany(stream, open), { limit })
  }

  /** What comes next; taking a chunk makes room for another one. */
  async #next(requestId: string, one: Pending): ReturnType<Exchange['next']> {
    for (;;) {
      const chunk = one.chunks.shift()
      if (chunk) {
        const bytes = one.window.take(chunkCost(chunk))
        if (bytes > 0 && this.#pending.has(requestId)) this.#options.send({ type: 'credit', requestId, bytes })
        return { chunk }
      }
      if (one.end) return { end: one.end }
      await new Promise<void>((resolve) => {
        one.wake = resolve
      })
    }
  }

  #cancel(requestId: string, one: Pending): void {
    if (!this.#pending.has(requestId)) return
    one.chunks.length = 0
    this.#finish(requestId, err(failure('cancelled', 'The request was given up.')))
    this.#options.send({ type: 'cancel', requestId })
  }

  #finish(requestId: string, end: Result<AgentReply, Failure>): void {
    const one = this.#pending.get(requestId)
    if (!one) return
    this.#pending.delete(requestId)
    one.end = end
    one.wake()
  }
}

function endOf({ error, exitCode, stats, lostBytes, incarnation, gc }: Extract<FromAgent, { type: 'reply' }>): Result<AgentReply, Failure> {
  return error
    ? err(failure(error.code, error.detail, error.fields))
    : ok({ exitCode, stats, lostBytes, incarnation: incarnation ?? null, gc: gc ?? null })
}
