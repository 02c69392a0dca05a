import type { Clock } from './clock.ts'
import { durationText } from './duration-text.ts'

/** The reason a signal made by `withDeadline` was aborted with when time ran out. */
export class DeadlineError extends Error {
  readonly deadlineMs: number
  constructor(deadlineMs: number) {
    super(`no answer within ${durationText(deadlineMs)}`)
    this.name = 'DeadlineError'
    this.deadlineMs = deadlineMs
  }
}

/** How long work that ignores its signal is waited for after the deadline. */
const GRACE_MS = 1000

/**
 * Runs `work` with a signal that aborts at the deadline or with `parent`, whichever is first. Work that ignores its signal does
 * not hold the caller: a second after the deadline this rejects with DeadlineError.
 */
export async function withDeadline<T>(
  clock: Clock,
  deadlineMs: number,
  parent: AbortSignal | undefined,
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const controller = new AbortController()
  const onParent = () => controller.abort(parent?.reason)
  if (parent?.aborted) onParent()
  else parent?.addEventListener('abort', onParent, { once: true })
  let late: () => void = () => {}
  const cancelSoft = clock.after(deadlineMs, () => controller.abort(new DeadlineError(deadlineMs)))
  const cancelHard = clock.after(deadlineMs + GRACE_MS, () => late())
  try {
    return await Promise.race([
      work(controller.signal),
      new Promise<never>((_, reject) => {
        late = () => reject(new DeadlineError(deadlineMs))
      }),
    ])
  } finally {
    cancelSoft()
    cancelHard()
    parent?.removeEventListener('abort', onParent)
  }
}

/** Waits for `work`, but not longer than this; the work itself goes on. */
export async function waitAtMost(clock: Clock, patienceMs: number, work: Promise<unknown>): Promise<void> {
  let giveUp: () => void = () => {}
  const late = new Promise<void>((resolve) => {
    giveUp = clock.after(patienceMs, resolve)
  })
  try {
    await Promise.race([work, late])
  } finally {
    giveUp()
  }
}
