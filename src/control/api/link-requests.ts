// Questions to an agent and their answers. Per request: chunks in order, then exactly one end. What the reader has not taken yet is
// bounded; a reader that falls behind loses the request, never memory.
import { err, ok, type Result } from '../../base/result.ts'
import type { AgentRequest, FromAgent, FromControl, ReplyChunk, Stats } from '../../contracts/agent-protocol.ts'
import { type Failure, failure } from '../../contracts/errors.ts'

export interface AgentReply {
  readonly exitCode: number | null
  readonly stats: Stats | null
  readonly lostBytes: number | null
}

/** Answers as they come. Always ends; `next` may be called again only after it resolved. */
export interface Exchange {
  next(): Promise<{ readonly chunk: ReplyChunk } | { readonly end: Result<AgentReply, Failure> }>
  /** The reader is gone: the agent is told to stop. */
  cancel(): void
}

export interface RequestTableOptions {
  readonly newRequestId: () => string
  readonly send: (message: FromControl) => boolean
  readonly bufferBytesMax: number
  readonly openMax: number
}

interface Pending {
  readonly chunks: ReplyChunk[]
  bytes: number
  end: Result<AgentReply, Failure> | null
  wake: () => void
}

const TOO_SLOW = failure('cancelled', 'The output came faster than it was read, so it was cut off. Read it in parts, with tail or since.')

export class RequestTable {
  readonly #options: RequestTableOptions
  readonly #pending = new Map<string, Pending>()

  constructor(options: RequestTableOptions) {
    this.#options = options
  }

  open(request: AgentRequest): Result<Exchange, Failure> {
    const { newRequestId, openMax, send } = this.#options
    if (this.#pending.size >= openMax)
      return err(
        failure('node_unreachable', `${this.#pending.size} requests to this node are open, which is the limit.`, { limit: openMax }),
      )
    const requestId = newRequestId()
    const one: Pending = { chunks: [], bytes: 0, end: null, wake: () => {} }
    this.#pending.set(requestId, one)
    if (send({ type: 'request', requestId, request })) return ok({ next: () => next(one), cancel: () => this.#cancel(requestId, one) })
    this.#pending.delete(requestId)
    return err(failure('node_unreachable', 'The connection to the node is gone or full.'))
  }

  /** A chunk or a reply; one that belongs to nothing is dropped. */
  take(message: Extract<FromAgent, { type: 'chunk' | 'reply' }>): void {
    const one = this.#pending.get(message.requestId)
    if (!one) return
    if (message.type === 'reply') {
      this.#finish(message.requestId, endOf(message))
      return
    }
    one.chunks.push(message.chunk)
    one.bytes += message.chunk.data.length
    one.wake()
    if (one.bytes <= this.#options.bufferBytesMax) return
    this.#finish(message.requestId, err(TOO_SLOW))
    this.#options.send({ type: 'cancel', requestId: message.requestId })
  }

  /** Ends all that are open. */
  fail(given: Failure): void {
    for (const requestId of [...this.#pending.keys()]) this.#finish(requestId, err(given))
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

async function next(one: Pending): ReturnType<Exchange['next']> {
  for (;;) {
    const chunk = one.chunks.shift()
    if (chunk) {
      one.bytes -= chunk.data.length
      return { chunk }
    }
    if (one.end) return { end: one.end }
    await new Promise<void>((resolve) => {
      one.wake = resolve
    })
  }
}

function endOf({ error, exitCode, stats, lostBytes }: Extract<FromAgent, { type: 'reply' }>): Result<AgentReply, Failure> {
  return error ? err(failure(error.code, error.detail, error.fields)) : ok({ exitCode, stats, lostBytes })
}
