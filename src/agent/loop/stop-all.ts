// The end of every workload of a node, as `down` wants it.
import type { Clock } from '../../base/clock.ts'
import { withDeadline } from '../../base/deadline.ts'
import { durationText } from '../../base/duration-text.ts'
import { err, ok, type Result } from '../../base/result.ts'
import { type Failure, failure } from '../../contracts/errors.ts'
import { isShutDown } from '../reconcile/plan.ts'
import type { Instances } from './instances.ts'

/** Stops all and removes what has ended; what is wished stays as it is. `stop_failed` names those that still run. */
export async function stopAll(clock: Clock, instances: Instances, deadlineMs: number): Promise<Result<void, Failure>> {
  try {
    await withDeadline(clock, deadlineMs, undefined, async (signal) => {
      await instances.shutdown(signal)
      await instances.removeEnded(signal)
    })
    return ok(undefined)
  } catch (error) {
    const left = [...instances.entries.values()].filter((entry) => !isShutDown(entry.record)).map((entry) => entry.record.desired.name)
    return err(
      failure('stop_failed', `Still not stopped after ${durationText(deadlineMs)}: ${left.join(', ')}.`, { instances: left }, error),
    )
  }
}
