// Pause and resume: the freezer of the control group where there is one (it holds every descendant), SIGSTOP of the process group elsewhere.
import { durationText } from '../../../base/duration-text.ts'
import { err, OK, type Result } from '../../../base/result.ts'
import { type Failure, failure } from '../../../contracts/errors.ts'
import type { Target } from '../driver.ts'
import { frozenState, setFrozen } from './cgroups.ts'
import { CANCELLED, type Context, requireLive } from './context.ts'
import { readStat, sendSignal } from './proc.ts'

const FREEZE_DEADLINE_MS = 5000

export async function setPaused(context: Context, target: Target, paused: boolean, signal: AbortSignal): Promise<Result<void, Failure>> {
  const { clock } = context
  const endMs = clock.elapsedMs() + FREEZE_DEADLINE_MS
  for (;;) {
    const live = await requireLive(context, target, signal)
    if (!live.ok) return live
    const { started, want } = live.value
    const state = frozenState(want.groups)
    const stopped = readStat(started.pid)?.state === 'T'
    if (paused && (state === null ? stopped : state === 'yes')) return OK
    if (!paused && !stopped && (state === null || state === 'no')) return OK
    if (clock.elapsedMs() > endMs) {
      // Half frozen is worse than running.
      if (paused) setFrozen(want.groups, false)
      return err(
        failure('runtime_error', `It could not be ${paused ? 'paused' : 'resumed'} within ${durationText(FREEZE_DEADLINE_MS)}.`, {
          pid: started.pid,
        }),
      )
    }
    // Asked anew each time: an old-style freezer gives up on a process that is just forking.
    if (!setFrozen(want.groups, paused) && paused) sendSignal(-started.pid, 'SIGSTOP')
    if (!paused) sendSignal(-started.pid, 'SIGCONT')
    await clock.sleep(1, signal).catch(() => undefined)
    if (signal.aborted) return err(CANCELLED)
  }
}
