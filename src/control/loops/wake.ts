// What has changed since a loop last looked. Nudges fold: a thousand changes of one thing are one, and too many things are "everything".
import type { Clock } from '../../base/clock.ts'
import type { ChangeKey } from '../model/event.ts'

/** null = look at everything. */
export type Changes = readonly ChangeKey[] | null

const CHANGES_MAX = 500

export class Wake {
  readonly #clock: Clock
  #changes: Map<string, ChangeKey> | null = null
  #pending = true
  #waiter: (() => void) | undefined

  constructor(clock: Clock) {
    this.#clock = clock
  }

  nudge(change: ChangeKey | null): void {
    if (change === null) this.#changes = null
    else this.#changes?.set(`${change.kind} ${change.id}`, change)
    if (this.#changes && this.#changes.size > CHANGES_MAX) this.#changes = null
    this.#pending = true
    this.#waiter?.()
  }

  /** What to look at now; what comes from here on is for the next time. */
  take(): Changes {
    const changes = this.#changes
    this.#changes = new Map()
    this.#pending = false
    return changes && [...changes.values()]
  }

  /** Until the next nudge, or until `durationMs` are over, which is a nudge for everything. Ends early, without one, when aborted. */
  async wait(durationMs: number, signal: AbortSignal): Promise<void> {
    if (this.#pending || signal.aborted) return
    await new Promise<void>((resolve) => {
      const end = () => {
        cancel()
        signal.removeEventListener('abort', end)
        this.#waiter = undefined
        resolve()
      }
      const cancel = this.#clock.after(durationMs, () => this.nudge(null))
      signal.addEventListener('abort', end, { once: true })
      this.#waiter = end
    })
  }
}
