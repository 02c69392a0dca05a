// Ending an incarnation. Whoever is signalled has been verified in the same breath: no await lies between a look and its signal.
// While its keeper lives, killing the main process is enough, because the keeper kills whatever else there is; for one whose keeper
// was killed we do that ourselves, by control group and by nonce.
import { durationText } from '../../../base/duration-text.ts'
import { err, OK, ok, type Result } from '../../../base/result.ts'
import { type Failure, failure } from '../../../contracts/errors.ts'
import type { Exit } from '../../../contracts/phase.ts'
import type { StopOptions, Target } from '../driver.ts'
import { groupPids, killGroup, removeGroups, setFrozen } from './cgroups.ts'
import { CANCELLED, type Context, type Live, settle } from './context.ts'
import { pidsWithNonce, sendSignal } from './proc.ts'
import { claim, type Run, runOf, type Want } from './records.ts'

/** A killed process ends at once unless it hangs in the kernel; then the stop has failed and is tried again. */
const KILL_DEADLINE_MS = 10_000
const SWEEPS_MAX = 100

export async function stop(
  context: Context,
  target: Target,
  options: StopOptions,
  signal: AbortSignal,
): Promise<Result<Exit | null, Failure>> {
  const run = runOf(context.stateDir, target.id, target.incarnation)
  const sight = await settle(context, run, signal)
  if (signal.aborted) return err(CANCELLED)
  if (sight.kind === 'none' || sight.want.nonce !== target.nonce || (sight.kind === 'live' && !sight.matches)) return ok(null)
  if (sight.kind === 'live') {
    context.tracker.track(run)
    signalTree(sight, options.signal)
    await waitForEnd(context, run, options.graceMs, signal)
    if (signal.aborted) return err(CANCELLED)
  }
  const ended = await endNow(context, run, signal)
  if (!ended.ok) return ended
  const last = context.inspector.look(run)
  return ok(last.kind === 'ended' ? last.exit : null)
}

/** Kills what is left and waits until nothing is. Ok when there was nothing. */
export async function endNow(
  context: Context,
  run: Run,
  signal: AbortSignal = new AbortController().signal,
): Promise<Result<void, Failure>> {
  const { clock, inspector, tracker } = context
  const endMs = clock.elapsedMs() + KILL_DEADLINE_MS
  for (;;) {
    const sight = inspector.look(run)
    if (sight.kind === 'none') return OK
    if (sight.kind === 'ended' && sight.settled) {
      if (sight.exit === null) await sweep(context, sight.want, signal)
      removeGroups(sight.want.groups)
      return OK
    }
    if (sight.kind === 'live' && !sight.matches) return OK
    if (signal.aborted) return err(CANCELLED)
    if (clock.elapsedMs() > endMs)
      return err(
        failure(
          'stop_failed',
          `Something of it still lives ${durationText(KILL_DEADLINE_MS)} after SIGKILL.`,
          sight.kind === 'live' ? { pid: sight.started.pid } : {},
        ),
      )
    if (sight.kind === 'pending' && !sight.kept) claim(run)
    if (sight.kind === 'live') {
      signalTree(sight, 'SIGKILL')
      for (const pid of groupPids(sight.want.groups)) sendSignal(pid, 'SIGKILL')
    }
    await tracker.next(run, 10, signal)
  }
}

/** Ends what a killed keeper left behind: members of its groups, and processes with its nonce. */
export async function sweep(context: Context, want: Want, signal: AbortSignal): Promise<void> {
  for (let round = 0; round < SWEEPS_MAX && !signal.aborted; round += 1) {
    setFrozen(want.groups, false)
    killGroup(want.groups)
    const left = [...groupPids(want.groups), ...pidsWithNonce(want.nonce)]
    if (left.length === 0) break
    for (const pid of left) sendSignal(pid, 'SIGKILL')
    await context.clock.sleep(10, signal).catch(() => undefined)
  }
  removeGroups(want.groups)
}

/** To the whole process group. What is paused is woken afterwards, so that the signal is the first thing it meets. */
function signalTree(sight: Live, signal: NodeJS.Signals): void {
  sendSignal(-sight.started.pid, signal)
  if (!sight.paused) return
  setFrozen(sight.want.groups, false)
  sendSignal(-sight.started.pid, 'SIGCONT')
}

async function waitForEnd(context: Context, run: Run, graceMs: number, signal: AbortSignal): Promise<void> {
  const { clock, inspector, tracker } = context
  const endMs = clock.elapsedMs() + graceMs
  for (;;) {
    const leftMs = endMs - clock.elapsedMs()
    const sight = inspector.look(run)
    if (sight.kind !== 'live' || leftMs <= 0 || signal.aborted) return
    // Without a keeper nobody tells us.
    await tracker.next(run, sight.attended ? Math.min(leftMs, 1000) : Math.min(leftMs, 20), signal)
  }
}
