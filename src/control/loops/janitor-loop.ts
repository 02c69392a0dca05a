// Drops what is past its retention: idempotency keys, old events, the records of instances deleted long ago. In small
// transactions, so that it never holds up anybody.
import { ok, type Result } from '../../base/result.ts'
import type { Failure } from '../../contracts/errors.ts'
import type { StoreWrites } from '../store/access.ts'
import type { LoopsDeps } from './deps.ts'
import type { Loop, Pass, Turn } from './runner.ts'

const BATCH = 1000
/** Of one pass; the rest waits a moment for the next one. */
const BATCHES_MAX = 50
const MORE_MS = 1000

type Deps = Pick<LoopsDeps, 'log' | 'config'>

export function janitorLoop(deps: Deps): Loop {
  return { name: 'janitor', resyncMs: deps.config.janitorMs, gapMs: 100, cares: () => false, pass: (turn) => pass(deps, turn) }
}

async function pass({ log, config }: Deps, { signal, write }: Turn): Promise<Result<Pass, Failure>> {
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
