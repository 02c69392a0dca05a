// Drops what is past its retention: idempotency keys, old events, the records of instances deleted long ago, and (as system:gc)
// failed instances that were given up long ago. In small transactions, so that it never holds up anybody.
import { OK, ok, type Result } from '../../base/result.ts'
import type { Failure } from '../../contracts/errors.ts'
import type { StoreWrites } from '../store/access.ts'
import { collectStale, listStale } from '../store/stale.ts'
import type { LoopsDeps } from './deps.ts'
import type { Loop, Pass, Turn } from './runner.ts'

const BATCH = 1000
/** Of one pass; the rest waits a moment for the next one. */
const BATCHES_MAX = 50
const MORE_MS = 1000

type Deps = Pick<LoopsDeps, 'log' | 'config' | 'meter' | 'store' | 'clock'>

export function janitorLoop(deps: Deps): Loop {
  return { name: 'janitor', resyncMs: deps.config.janitorMs, gapMs: 100, cares: () => false, pass: (turn) => pass(deps, turn) }
}

async function pass(deps: Deps, turn: Turn): Promise<Result<Pass, Failure>> {
  const { log, config } = deps
  const { signal, write } = turn
  const collected = await collect(deps, turn)
  if (!collected.ok) return collected
  const chores: readonly { readonly kind: string; readonly run: (tx: StoreWrites) => Promise<Result<number, Failure>> }[] = [
    {
      kind: 'log',
      run: (tx) =>
        tx.trimLogs({ eventsBeforeMs: tx.nowMs - config.eventsKeptMs, keysBeforeMs: tx.nowMs - config.keysKeptMs, limit: BATCH }),
    },
    { kind: 'instance', run: (tx) => tx.purgeInstances(tx.nowMs - config.deletedKeptMs, BATCH) },
  ]
  let unfinished = false
  for (const { kind, run } of chores) {
    let dropped = 0
    let last = BATCH
    for (let batch = 0; batch < BATCHES_MAX && last >= BATCH && !signal.aborted; batch += 1) {
      const outcome = await write('system:janitor', run)
      if (!outcome.ok) return outcome
      last = outcome.value
      dropped += last
    }
    unfinished ||= last >= BATCH
    if (dropped > 0) log.info('old records dropped', { kind, count: dropped })
  }
  return ok({ againMs: unfinished ? MORE_MS : null })
}

/** They are wished deleted, as a person would; their records stay for the retention of deleted ones. */
async function collect({ log, config, meter, store, clock }: Deps, { signal, write }: Turn): Promise<Result<void, Failure>> {
  const { enabled, failedAfterMs, perCycleMax } = config.gc
  if (!enabled) return OK
  const stale = await listStale(store.read)
  if (!stale.ok) return stale
  const due = stale.value.filter(({ sinceMs }) => clock.wallMs() - sinceMs >= failedAfterMs)
  for (const { instance } of due.slice(0, perCycleMax)) {
    if (signal.aborted) return OK
    const done = await write('system:gc', (tx) => collectStale(tx, instance.id, failedAfterMs))
    if (!done.ok) return done
    if (done.value === null) continue
    const { kind, reason, id, ageMs } = done.value
    log.info('resource collected', { kind, id, reason, age_ms: ageMs })
    meter.count('gc_deleted_total', { kind, reason })
  }
  return OK
}
