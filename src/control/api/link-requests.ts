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

export interface RequestTable {
  open(request: AgentRequest): Result<Exchange, Failure>
  /** A chunk or a reply; one that belongs to nothing is dropped. */
  take(message: Extract<FromAgent, { type: 'chunk' | 'reply' }>): void
  /** Ends all that are open. */
  fail(given: Failure): void
  readonly size: number
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

export function createRequestTable(options: RequestTableOptions): RequestTable {
  const pending = new Map<string, Pending>()
  const finish = (requestId: string, end: Result<AgentReply, Failure>) => {
    const one = pending.get(requestId)
    if (!one) return
    pending.delete(requestId)
    one.end = end
    one.wake()
  }
  return {
    open(request) {
      if (pending.size >= options.openMax)
        return err(
          failure('node_unreachable', `${pending.size} requests to this node are open, which is the limit.`, { limit: options.openMax }),
        )
      const requestId = options.newRequestId()
      const one: Pending = { chunks: [], bytes: 0, end: null, wake: () => {} }
      pending.set(requestId, one)
      if (!options.send({ type: 'request', requestId, request })) {
        pending.delete(requestId)
        return err(failure('node_unreachable', 'The connection to the node is gone or full.'))
      }
      return ok({
        async next() {
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
        },
        cancel() {
          if (!pending.has(requestId)) return
          one.chunks.length = 0
          finish(requestId, err(failure('cancelled', 'The request was given up.')))
          options.send({ type: 'cancel', requestId })
        },
      })
    },
    take(message) {
      const one = pending.get(message.requestId)
      if (!one) return
      if (message.type === 'reply') {
        const { error, exitCode, stats, lostBytes } = message
        finish(
          message.requestId,
          error
            ? err(error.fields ? failure(error.code, error.detail, error.fields) : failure(error.code, error.detail))
            : ok({ exitCode, stats, lostBytes }),
        )
        return
      }
      one.chunks.push(message.chunk)
      one.bytes += message.chunk.data.length
      if (one.bytes > options.bufferBytesMax) {
        finish(
          message.requestId,
          err(failure('cancelled', 'The output came faster than it was read, so it was cut off. Read it in parts, with tail or since.')),
        )
        options.send({ type: 'cancel', requestId: message.requestId })
        return
      }
      one.wake()
    },
    fail(given) {
      for (const requestId of [...pending.keys()]) finish(requestId, err(given))
    },
    get size() {
      return pending.size
    },
  }
}
