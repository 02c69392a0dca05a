// Stopping: the signal, the grace in milliseconds, then SIGKILL to everything in the container (the engine kills its whole cgroup's
// process 1, and with it the pid namespace). Signals go by the engine, never by pid. Also pause and resume, which meet the same states.
import { durationText } from '../../../base/duration-text.ts'
import { err, OK, ok, type Result } from '../../../base/result.ts'
import { type Failure, failure } from '../../../contracts/errors.ts'
import type { Exit } from '../../../contracts/phase.ts'
import type { StopOptions, Target } from '../driver.ts'
import { failureOf, isStatus } from './engine-fault.ts'
import { type Found, find, mustFind, type Parts } from './find.ts'
import { seenOf } from './seen.ts'

/** After SIGKILL; a process stuck in the kernel outlives it. */
const KILL_DEADLINE_MS = 15_000

export async function stopContainer(
  parts: Parts,
  target: Target,
  options: StopOptions,
  signal: AbortSignal,
): Promise<Result<Exit | null, Failure>> {
  const found = await find(parts, target, signal)
  if (!found.ok) return found
  if (found.value === null || found.value === 'stranger') return ok(null)
  const { State: state, Id: id } = found.value.container
  if (!state.Running && !state.Paused) return ok(exitFrom(parts, found.value))
  const graceful = options.signal !== 'SIGKILL' && options.graceMs > 0
  const ended = graceful ? await signalAndWait(parts, found.value, options.signal, options.graceMs, signal) : ok(false)
  if (!ended.ok) return ended
  if (!ended.value) {
    const killed = await signalAndWait(parts, found.value, 'SIGKILL', KILL_DEADLINE_MS, signal)
    if (!killed.ok) return killed
    if (!killed.value)
      return err(failure('stop_failed', `It still runs ${durationText(KILL_DEADLINE_MS)} after SIGKILL.`, { container_id: id }))
  }
  const after = await find(parts, target, signal)
  if (!after.ok) return after
  return ok(after.value === null || after.value === 'stranger' ? null : exitFrom(parts, after.value))
}

function exitFrom(parts: Parts, { container, mark }: Found): Exit | null {
  const { oomAtMs } = parts.memory.of(container.Id)
  return seenOf(container, mark, { matches: true, cloudInit: null, oomAtMs, startedBefore: null, processOf: () => undefined }).exit
}

/** True when it has ended, false when it had not `waitMs` after the signal was delivered. */
async function signalAndWait(
  parts: Parts,
  { container }: Found,
  name: string,
  waitMs: number,
  signal: AbortSignal,
): Promise<Result<boolean, Failure>> {
  const { engine, clock } = parts
  const path = `/containers/${container.Id}`
  const stop = new AbortController()
  // A paused container takes signals only once it runs again.
  if (container.State.Paused) await engine.call({ method: 'POST', path: `${path}/unpause` }, signal)
  // Waiting begins before the signal is sent, so that no end is missed; the grace is counted from its delivery.
  const wait = { method: 'POST', path: `${path}/wait`, query: { condition: 'not-running' }, deadlineMs: waitMs + KILL_DEADLINE_MS } as const
  const waiting = engine.call(wait, AbortSignal.any([signal, stop.signal]), 'long')
  const sent = await engine.call({ method: 'POST', path: `${path}/kill`, query: { signal: name } }, signal)
  // 404: gone; 409: it does not run any more. Both are what was wanted.
  if (!sent.ok && !isStatus(sent.error, 404) && !isStatus(sent.error, 409)) {
    stop.abort()
    await waiting
    return err(failureOf(sent.error, 'send a signal', 'stop_failed'))
  }
  const cancel = clock.after(waitMs, () => stop.abort())
  const ended = await waiting
  cancel()
  if (ended.ok || isStatus(ended.error, 404)) return ok(true)
  if (signal.aborted) return err(failure('cancelled', 'The stop was cancelled.'))
  return stop.signal.aborted ? ok(false) : err(failureOf(ended.error, 'wait for the end', 'stop_failed'))
}

export async function pauseContainer(
  parts: Parts,
  target: Target,
  how: 'pause' | 'unpause',
  signal: AbortSignal,
): Promise<Result<void, Failure>> {
  const found = await mustFind(parts, target, signal)
  if (!found.ok) return found
  const { State: state, Id: id } = found.value.container
  if (!state.Running && !state.Paused) return err(failure('wrong_state', 'It does not run.'))
  if (state.Paused === (how === 'pause')) return OK
  const answer = await parts.engine.call({ method: 'POST', path: `/containers/${id}/${how}` }, signal)
  if (answer.ok) return OK
  // Somebody was faster, or it ended in between: its state now says which.
  const after = await mustFind(parts, target, signal)
  if (
    after.ok &&
    (after.value.container.State.Running || after.value.container.State.Paused) &&
    after.value.container.State.Paused === (how === 'pause')
  )
    return OK
  return err(failureOf(answer.error, how === 'pause' ? 'pause the container' : 'resume the container'))
}
