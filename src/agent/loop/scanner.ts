// The safety net: lists every runtime at the start, whenever one comes back, and every detection interval. Events only make it faster.
// Also keeps what each runtime says of itself. Each runtime is asked by itself: one that hangs holds up no other.
import type { Clock } from '../../base/clock.ts'
import { waitAtMost } from '../../base/deadline.ts'
import type { Logger } from '../../base/log.ts'
import type { Result } from '../../base/result.ts'
import type { RuntimeStatus } from '../../contracts/agent-protocol.ts'
import type { Failure } from '../../contracts/errors.ts'
import type { InstanceId } from '../../contracts/ids.ts'
import type { Meter } from '../../contracts/metrics.ts'
import type { Runtime } from '../../contracts/spec.ts'
import type { Sight } from '../observe/look.ts'
import type { Instances } from './instances.ts'

export interface Listed {
  readonly byId: ReadonlyMap<InstanceId, Extract<Sight, { kind: 'known' }>['objects']>
  readonly epochs: ReadonlyMap<InstanceId, number>
  /** When it began, in elapsed milliseconds. */
  readonly startedMs: number
}

export interface ScannerDeps {
  readonly clock: Clock
  readonly log: Logger
  readonly meter: Meter
  readonly instances: Instances
  readonly runtimes: readonly Runtime[]
  /** Read anew after each scan. */
  readonly detectionIntervalMs: number
  readonly statusIntervalMs: number
  readonly startPatienceMs: number
  list(
    runtime: Runtime,
  ): Promise<
    Result<{ readonly complete: boolean; readonly byId: ReadonlyMap<InstanceId, Extract<Sight, { kind: 'known' }>['objects']> }, Failure>
  >
  status(runtime: Runtime): Promise<RuntimeStatus>
  /** What a listing that misses nothing showed, and how each instance stood when it began; null: an outage, or a listing that proves no absence. */
  readonly heard?: (runtime: Runtime, listing: Listed | null) => void
  /** A runtime's status is new or different. */
  statusChanged(): void
}

export interface Scanner {
  /** One listing of one runtime; two at once fold into one. */
  scan(runtime: Runtime): Promise<void>
  /** Returns when every runtime has been looked at once, or its patience is over. */
  start(): Promise<void>
  statuses(): readonly RuntimeStatus[]
  /** It went away or came back. */
  reachable(runtime: Runtime): void
  close(): void
}

export function createScanner(deps: ScannerDeps): Scanner {
  const statuses = new Map<Runtime, RuntimeStatus>()
  const scanning = new Map<Runtime, Promise<void>>()
  const repeats = createRepeats(deps.clock)
  const nameStrays = strayTeller(deps)

  const scan = (runtime: Runtime): Promise<void> => {
    const running = scanning.get(runtime)
    if (running !== undefined) return running
    const started = scanOnce(deps, runtime, nameStrays).finally(() => scanning.delete(runtime))
    scanning.set(runtime, started)
    return started
  }
  const refresh = async (runtime: Runtime): Promise<void> => {
    const status = await deps.status(runtime)
    const was = statuses.get(runtime)
    if (!status.usable) deps.heard?.(runtime, null)
    if (was?.usable && !status.usable) deps.log.warn('runtime unreachable', { runtime, detail: status.detail })
    if (was && !was.usable && status.usable) deps.log.info('runtime reachable', { runtime })
    statuses.set(runtime, status)
    if (JSON.stringify(status) !== JSON.stringify(was)) deps.statusChanged()
  }

  return {
    scan,
    async start() {
      deps.meter.gauge('runtime_healthy', () =>
        [...statuses.values()].map((status) => ({ labels: { runtime: status.runtime }, value: status.usable ? 1 : 0 })),
      )
      const first = Promise.all(deps.runtimes.flatMap((runtime) => [refresh(runtime), scan(runtime)]))
      for (const runtime of deps.runtimes) {
        repeats.every(
          () => deps.detectionIntervalMs,
          () => scan(runtime),
        )
        repeats.every(
          () => deps.statusIntervalMs,
          () => refresh(runtime),
        )
      }
      await waitAtMost(deps.clock, deps.startPatienceMs, first)
    },
    statuses: () => deps.runtimes.map((runtime) => statuses.get(runtime) ?? silent(runtime)),
    reachable(runtime) {
      // Back: it may have done anything meanwhile without telling. Away: what was seen last is not to be trusted for absence.
      deps.heard?.(runtime, null)
      void refresh(runtime)
      void scan(runtime)
    },
    close: () => repeats.close(),
  }
}

const silent = (runtime: Runtime): RuntimeStatus => ({
  runtime,
  usable: false,
  version: null,
  detail: 'It has not answered yet.',
  fix: null,
  limits: 'none',
})

async function scanOnce(deps: ScannerDeps, runtime: Runtime, nameStrays: ReturnType<typeof strayTeller>): Promise<void> {
  const { instances } = deps
  const startedMs = deps.clock.elapsedMs()
  const epochs = new Map([...instances.entries].map(([id, entry]) => [id, entry.epoch]))
  const listed = await deps.list(runtime)
  for (const [id, entry] of instances.entries) {
    const epoch = epochs.get(id)
    if (entry.record.desired.spec.runtime !== runtime || epoch === undefined) continue
    if (!listed.ok) instances.setSight(id, { kind: 'unknown', failure: listed.error }, epoch)
    else {
      const objects = listed.value.byId.get(id)
      // Absence counts only in a complete listing; otherwise ask for this one by itself.
      if (objects || listed.value.complete) instances.setSight(id, { kind: 'known', objects: objects ?? [] }, epoch)
      else instances.lookAgain(id)
    }
  }
  if (listed.ok) nameStrays(runtime, listed.value.byId.keys(), listed.value.complete)
  deps.heard?.(runtime, listed.ok && listed.value.complete ? { byId: listed.value.byId, epochs, startedMs } : null)
  deps.meter.observe('reconcile_duration_seconds', (deps.clock.elapsedMs() - startedMs) / 1000)
}

/** Objects with our mark that no instance owns are left alone here and named once, and once more when they come back. */
function strayTeller({ instances, log }: ScannerDeps): (runtime: Runtime, ids: Iterable<InstanceId>, complete: boolean) => void {
  const named = new Map<Runtime, ReadonlySet<InstanceId>>()
  return (runtime, ids, complete) => {
    const before = named.get(runtime)
    const strays = [...ids].filter((id) => !instances.entries.has(id))
    for (const id of strays) if (!before?.has(id)) log.warn('stray runtime object', { instance_id: id })
    // Only a complete listing says that one is gone.
    named.set(runtime, new Set(complete ? strays : [...(before ?? []), ...strays]))
  }
}

/** Work that is done again and again, each time its interval after it ended. */
function createRepeats(clock: Clock) {
  const cancels = new Set<() => void>()
  let closed = false
  const every = (intervalMs: () => number, run: () => Promise<void>) => {
    const arm = () => {
      if (closed) return
      const cancel = clock.after(intervalMs(), () => {
        cancels.delete(cancel)
        void run().finally(arm)
      })
      cancels.add(cancel)
    }
    arm()
  }
  return {
    every,
    close() {
      closed = true
      for (const cancel of cancels) cancel()
    },
  }
}
