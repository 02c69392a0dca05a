// One run of one check under its deadline. When the deadline comes late, this process was asleep or busy: the answer may lie unread in
// a socket buffer. So the deadline moves by as much as it came late, and if that was long, a timeout proves nothing.
import type { Clock } from '../../base/clock.ts'
import { durationText } from '../../base/duration-text.ts'
import type { Measurement } from '../model/check.ts'
import { type Finding, fail } from './outcome.ts'
import type { Run } from './tasks.ts'

/** Later than this and the deadline is moved; timers are normally a few milliseconds late. */
const LATE_MS = 20
/** Later than this and a timeout is no evidence. */
const ASLEEP_MS = 250

export interface Measuring {
  readonly measurement: Promise<Measurement>
  /** Settles when the run itself has ended, which may be after its deadline. */
  readonly ended: Promise<void>
}

/** `run` must not reject. An abort of `signal` ends the run; what it then says is nobody's business. */
export function measure(clock: Clock, run: Run, timeoutMs: number, signal: AbortSignal): Measuring {
  const startMs = clock.elapsedMs()
  const controller = new AbortController()
  const timedOut = Promise.withResolvers<Finding>()
  let lateMs = 0
  const onDue = (dueMs: number) => {
    const byMs = clock.elapsedMs() - dueMs
    if (byMs > LATE_MS && lateMs === 0) {
      lateMs = byMs
      const extraMs = Math.min(byMs, timeoutMs)
      cancel = clock.after(extraMs, () => onDue(clock.elapsedMs()))
      return
    }
    const after = `no answer within ${durationText(timeoutMs)}`
    timedOut.resolve(
      lateMs > ASLEEP_MS
        ? { kind: 'inconclusive', detail: `${after}, but the agent itself was late by ${durationText(lateMs)}` }
        : fail('timeout', after),
    )
    controller.abort(new Error('deadline'))
  }
  let cancel = clock.after(timeoutMs, () => onDue(startMs + timeoutMs))
  const onAbort = () => {
    timedOut.resolve({ kind: 'inconclusive', detail: 'stopped' })
    controller.abort(signal.reason)
  }
  if (signal.aborted) onAbort()
  else signal.addEventListener('abort', onAbort, { once: true })

  const work = run(controller.signal)
  const measurement = Promise.race([work, timedOut.promise]).then((finding): Measurement => {
    cancel()
    signal.removeEventListener('abort', onAbort)
    return { ...finding, durationMs: Math.max(0, clock.elapsedMs() - startMs - lateMs) }
  })
  return { measurement, ended: work.then(() => {}) }
}
