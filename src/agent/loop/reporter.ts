// Tells the control plane what changed, in batches. What was not acknowledged is sent again after a reconnect, so a lost message
// costs time only. Several changes of one instance between two messages travel as one observation with all their transitions.
import type { Clock } from '../../base/clock.ts'
import type { Observed } from '../../contracts/agent-protocol.ts'
import type { InstanceId } from '../../contracts/ids.ts'
import type { PhaseKind } from '../../contracts/phase.ts'

export interface ReporterDeps {
  readonly clock: Clock
  readonly batchMax: number
  observed(id: InstanceId): Observed | undefined
  ids(): Iterable<InstanceId>
  /** False when there is no connection or its buffer is full. */
  send(items: readonly Observed[]): boolean
}

export interface Reporter {
  /** `phase` says how soon it is worth telling. */
  dirty(id: InstanceId, phase: PhaseKind): void
  /** After a reconnect: everything again. */
  resendAll(): void
  close(): void
}

/** News that will not last: a restart is four transitions in some milliseconds, and telling of each would slow it down. */
const PASSING_MS = 20
/** News that lasts goes at once; this folds instances that come to rest together. */
const LASTING_MS = 1
const RETRY_MS = 250

const PASSING: ReadonlySet<PhaseKind> = new Set(['placed', 'preparing', 'starting', 'recovering', 'stopping'])

export function createReporter(deps: ReporterDeps): Reporter {
  const { clock } = deps
  const dirty = new Set<InstanceId>()
  let timer: { readonly dueMs: number; readonly cancel: () => void } | null = null
  let closed = false

  const arm = (delayMs: number) => {
    const dueMs = clock.elapsedMs() + delayMs
    if (closed || (timer && timer.dueMs <= dueMs)) return
    timer?.cancel()
    const cancel = clock.after(delayMs, () => {
      timer = null
      flush()
    })
    timer = { dueMs, cancel }
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
    dirty(id, phase) {
      dirty.add(id)
      arm(PASSING.has(phase) ? PASSING_MS : LASTING_MS)
    },
    resendAll() {
      for (const id of deps.ids()) dirty.add(id)
      arm(0)
    },
    close() {
      closed = true
      timer?.cancel()
    },
  }
}
