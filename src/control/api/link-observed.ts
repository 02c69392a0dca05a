// What one agent reports, on its way into the store: in order, in batches, one write at a time, acknowledged only when durable.
// A store that is away is tried again for as long as the session lives; meanwhile the agent keeps everything and resends it after a
// reconnect, so nothing is lost when the session ends first.
import type { Clock } from '../../base/clock.ts'
import type { Result } from '../../base/result.ts'
import type { FromControl, Observed } from '../../contracts/agent-protocol.ts'
import type { Failure } from '../../contracts/errors.ts'

type Acks = Readonly<Extract<FromControl, { type: 'ack' }>['items']>

export interface ObservedWriterOptions {
  readonly write: (items: readonly Observed[]) => Promise<Result<Acks, Failure>>
  readonly ack: (items: Acks) => void
  /** This session may not write any more. */
  readonly onFenced: (why: Failure) => void
  /** The store refused; told once per outage. */
  readonly onRetry: (why: Failure) => void
  readonly clock: Clock
  readonly signal: AbortSignal
  readonly batchMax: number
  readonly queueMax: number
  readonly retryMs: number
}

export interface ObservedWriter {
  /** Resolves at once while there is room, else when there is again: the caller reads nothing more meanwhile. */
  add(items: readonly Observed[]): Promise<void>
  /** Resolves when nothing is being written. */
  idle(): Promise<void>
}

/**
 * Each instance once, with its newest word and all that led there. A write whose answer was lost is made again, and must find what it
 * wrote: of two words in it the older one would be taken for a step back from the newer one.
 */
function newestOf(items: readonly Observed[]): readonly Observed[] {
  const newest = new Map<string, Observed>()
  for (const item of items) {
    const before = newest.get(item.id)
    const led = (before?.transitions ?? []).filter(({ seq }) => !item.transitions.some((step) => step.seq === seq))
    newest.set(item.id, led.length > 0 ? { ...item, transitions: [...led, ...item.transitions] } : item)
  }
  return [...newest.values()]
}

export function createObservedWriter(options: ObservedWriterOptions): ObservedWriter {
  let queue: Observed[] = []
  let running: Promise<void> | null = null
  let room: (() => void) | null = null
  const freeRoom = () => {
    room?.()
    room = null
  }
  options.signal.addEventListener('abort', freeRoom, { once: true })

  const run = async () => {
    while (queue.length > 0 && !options.signal.aborted) {
      const batch = queue.slice(0, options.batchMax)
      if (!(await writeBatch(newestOf(batch)))) break
      queue = queue.slice(batch.length)
      if (queue.length < options.queueMax) freeRoom()
    }
    running = null
  }
  const writeBatch = async (batch: readonly Observed[]): Promise<boolean> => {
    for (let told = false; ; told = true) {
      const written = await options.write(batch)
      if (written.ok) {
        options.ack(written.value)
        return true
      }
      if (written.error.code === 'node_id_taken') {
        options.onFenced(written.error)
        return false
      }
      if (!told) options.onRetry(written.error)
      try {
        await options.clock.sleep(options.retryMs, options.signal)
      } catch {
        return false
      }
    }
  }
  return {
    async add(items) {
      queue.push(...items)
      running ??= run()
      if (queue.length < options.queueMax || options.signal.aborted) return
      await new Promise<void>((resolve) => {
        room = resolve
      })
    },
    idle: () => running ?? Promise.resolve(),
  }
}
