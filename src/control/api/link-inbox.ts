// Messages of an agent, parsed, in order, one at a time; the socket is not read while too many wait.
import { z } from 'zod'
import { err, ok, type Result } from '../../base/result.ts'
import type { Wire } from '../../base/wire.ts'
import { FromAgent, LINK_MESSAGE_BYTES_MAX, PROTOCOL_VERSION } from '../../contracts/agent-protocol.ts'
import { type Failure, failure } from '../../contracts/errors.ts'

export interface Inbox {
  /** Messages in order, one at a time, until aborted. May be called again to go on. */
  messages(signal: AbortSignal): AsyncGenerator<Result<FromAgent, Failure>>
}

/** Enough for bursts; the socket is not read while it is full, by number or by characters. */
const INBOX_MAX = 1000
const INBOX_LENGTH_MAX = LINK_MESSAGE_BYTES_MAX * 2

export function createInbox(socket: Wire, heard: () => void): Inbox {
  const queue: string[] = []
  let wake = () => {}
  let length = 0
  let paused = false
  socket.on('message', (data, isBinary) => {
    heard()
    const text = isBinary ? '' : String(data)
    queue.push(text)
    length += text.length
    if (queue.length >= INBOX_MAX || length >= INBOX_LENGTH_MAX) {
      paused = true
      socket.pause()
    }
    wake()
  })
  return {
    async *messages(signal) {
      // One listener for all waits: one per wait would pile up over the life of a session.
      signal.addEventListener('abort', () => wake(), { once: true })
      for (;;) {
        while (queue.length === 0) {
          if (signal.aborted) return
          await new Promise<void>((resolve) => {
            wake = resolve
          })
        }
        const text = queue.shift() ?? ''
        length -= text.length
        if (paused && queue.length <= INBOX_MAX / 2 && length <= INBOX_LENGTH_MAX / 2) {
          paused = false
          socket.resume()
        }
        yield parseMessage(text)
      }
    },
  }
}

function parseMessage(text: string): Result<FromAgent, Failure> {
  let raw: unknown
  try {
    raw = JSON.parse(text)
  } catch {
    return err(failure('invalid_input', 'A message of the agent is not JSON.'))
  }
  // Looked at first: of another version nothing else need be as we know it.
  const greeting = Greeting.safeParse(raw)
  if (greeting.success && greeting.data.protocol !== PROTOCOL_VERSION) return err(otherProtocol(greeting.data.protocol))
  const parsed = FromAgent.safeParse(raw)
  if (parsed.success) return ok(parsed.data)
  const issue = parsed.error.issues[0]
  return {
    ok: false,
    error: failure(
      'invalid_input',
      `A message of the agent is not of this protocol: ${issue?.path.join('.') ?? ''}: ${issue?.message ?? ''}`,
    ),
  }
}

const Greeting = z.looseObject({ type: z.literal('hello'), protocol: z.number() })

const otherProtocol = (protocol: number): Failure =>
  failure('unsupported', `The agent speaks protocol ${protocol}, this control plane ${PROTOCOL_VERSION}; bring both to one version.`, {
    protocol: PROTOCOL_VERSION,
  })
