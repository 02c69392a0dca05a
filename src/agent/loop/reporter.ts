// Tells the control plane what changed, in batches. What was not acknowledged is sent again after a reconnect, so a lost message
// costs time only. Several changes of one instance between two messages travel as one observation with all their transitions.
import type { Clock } from '../../base/clock.ts'
import type { Observed } from '../../contracts/agent-protocol.ts'
import type { InstanceId } from '../../contracts/ids.ts'

export interface ReporterDeps {
  readonly clock: Clock
  readonly batchMax: number
  observed(id: InstanceId): Observed | undefined
  ids(): Iterable<InstanceId>
  /** False when there is no connection or its buffer is full. */
  send(items: readonly Observed[]): boolean
}

export interface Reporter {
  dirty(id: InstanceId): void
  /** After a reconnect: everything again. */
  resendAll(): void
  close(): void
}

/** Changes of one instance come in bursts (a restart is four transitions in some milliseconds); this folds most of a burst. */
const GATHER_MS = 2
const RETRY_MS = 250

export function createReporter(deps: ReporterDeps): Reporter {
  const dirty = new Set<InstanceId>()
  let cancel: (() => void) | null = null
  let closed = false

  const arm = (delayMs: number) => {
    if (closed || cancel) return
    cancel = deps.clock.after(delayMs, () => {
      cancel = null
      flush()
    })
  }
  const flush = () => {
    while (dirty.size > 0) {
      const ids = [...dirty].slice(0, deps.batchMax)
      const items = ids.map((id) => deps.observed(id)).filter((item) => item !== undefined)
      if (items.length > 0 && !deps.send(items)) return arm(RETRY_MS)
      for (const id of ids) dirty.delete(id)
    }
  }
  return {
    dirty(id) {
      dirty.add(id)
      arm(GATHER_MS)
    },
    resendAll() {
      for (const id of deps.ids()) dirty.add(id)
      arm(0)
    },
    close() {
      closed = true
      cancel?.()
    },
  }
}
