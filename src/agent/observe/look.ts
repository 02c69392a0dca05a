// Asking drivers what exists. A driver that did not answer is `unknown`, never `none`.
import type { Clock } from '../../base/clock.ts'
import { DeadlineError, withDeadline } from '../../base/deadline.ts'
import { err, ok, type Result } from '../../base/result.ts'
import { type Failure, failure } from '../../contracts/errors.ts'
import type { InstanceId } from '../../contracts/ids.ts'
import type { Driver, Seen } from '../drivers/driver.ts'

/** The raw objects of one instance, or unknown. */
export type Sight =
  | { readonly kind: 'unknown'; readonly failure: Failure | null }
  | { readonly kind: 'known'; readonly objects: readonly Seen[] }

/** The sight with this object in place of what was known of its incarnation. */
export function withObject(sight: Sight, seen: Seen): Sight {
  const others = sight.kind === 'known' ? sight.objects.filter((object) => object.incarnation !== seen.incarnation) : []
  return { kind: 'known', objects: [...others, seen] }
}

export async function lookAt(clock: Clock, driver: Driver, id: InstanceId, deadlineMs: number, signal: AbortSignal): Promise<Sight> {
  const result = await bounded(clock, deadlineMs, signal, (inner) => driver.inspect(id, inner))
  return result.ok ? { kind: 'known', objects: result.value } : { kind: 'unknown', failure: result.error }
}

/** Everything of one driver, by instance. `complete` false: absence proves nothing. */
export async function lookAtAll(
  clock: Clock,
  driver: Driver,
  deadlineMs: number,
  signal: AbortSignal,
): Promise<Result<{ readonly complete: boolean; readonly byId: ReadonlyMap<InstanceId, readonly Seen[]> }, Failure>> {
  const result = await bounded(clock, deadlineMs, signal, (inner) => driver.list(inner))
  if (!result.ok) return result
  const byId = new Map<InstanceId, Seen[]>()
  for (const seen of result.value.seen) {
    const objects = byId.get(seen.id)
    if (objects) objects.push(seen)
    else byId.set(seen.id, [seen])
  }
  return ok({ complete: result.value.complete, byId })
}

async function bounded<T>(
  clock: Clock,
  deadlineMs: number,
  signal: AbortSignal,
  work: (inner: AbortSignal) => Promise<Result<T, Failure>>,
): Promise<Result<T, Failure>> {
  try {
    return await withDeadline(clock, deadlineMs, signal, work)
  } catch (error) {
    // Whatever it was: nothing is known. But a bug must not look like a slow engine.
    if (error instanceof DeadlineError) return err(failure('runtime_unreachable', `The runtime gave ${error.message}.`, {}, error))
    if (signal.aborted) return err(failure('cancelled', 'It was no longer asked.', {}, error))
    return err(failure('internal', `Asking the runtime failed: ${error instanceof Error ? error.message : String(error)}.`, {}, error))
  }
}
