// Leases on a memory database: asked for again when somebody lets go, a moment later, so that a takeover takes as long as on PostgreSQL.
import type { Clock } from '../../src/base/clock.ts'
import { err, ok, type Result } from '../../src/base/result.ts'
import { type Failure, failure } from '../../src/contracts/errors.ts'
import type { Lease } from '../../src/control/store/lease.ts'
import type { MemoryDatabase } from './memory-database.ts'

const ASK_INTERVAL_MS = 500
/** While somebody holds it: whether the store is still there. */
const LOOK_INTERVAL_MS = 5000

interface Asking {
  readonly database: MemoryDatabase
  readonly clock: Clock
  /** Why it cannot be had now; asked before each look. */
  readonly refused: () => Failure | null
  /** Aborted when waiting has no more sense. */
  readonly signal: AbortSignal
}

/** The lease, and how it is lost. */
export interface HeldLease {
  readonly lease: Lease
  readonly lose: () => void
}

export async function takeLease({ database, clock, refused, signal }: Asking, name: string): Promise<Result<HeldLease, Failure>> {
  const holder = {}
  for (;;) {
    const refusal = refused()
    if (refusal) return err(refusal)
    if (signal.aborted) return err(failure('shutting_down', `No longer waiting for ${name}.`))
    if (database.tryHold(name, holder)) break
    // An abort ends the sleep; the signal is looked at next.
    const freed = new AbortController()
    const forget = database.whenFree(name, () => freed.abort())
    await clock.sleep(LOOK_INTERVAL_MS, AbortSignal.any([signal, freed.signal])).catch(() => undefined)
    forget()
    if (freed.signal.aborted) await clock.sleep(ASK_INTERVAL_MS, signal).catch(() => undefined)
  }
  const lost = new AbortController()
  const lose = () => {
    database.free(name, holder)
    lost.abort(new Error('the lease is lost'))
  }
  const epoch = await database.inTurn(async () => {
    const next = (database.rows.singletons.get(name) ?? 0) + 1
    database.rows.singletons.put(name, next)
    return next
  })
  return ok({ lease: { name, epoch, signal: lost.signal, release: async () => lose() }, lose })
}
