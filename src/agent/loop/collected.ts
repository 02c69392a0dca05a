// Deletions on their way to the control plane: kept on disk until it has stored them, and sent again after each reconnect. Each carries
// a key, so that what arrives twice counts once.
import type { Clock } from '../../base/clock.ts'
import type { Logger } from '../../base/log.ts'
import type { Result } from '../../base/result.ts'
import type { Failure } from '../../contracts/errors.ts'
import type { Collected } from '../../contracts/garbage.ts'

export interface CollectedDeps {
  readonly clock: Clock
  readonly log: Logger
  readonly limits: { readonly collectedMax: number; readonly collectedResendMs: number }
  save(items: readonly Collected[]): Promise<Result<void, Failure>>
  /** False when there is no connection, or no room in it. */
  send(items: readonly Collected[]): boolean
}

export class CollectedOutbox {
  readonly #deps: CollectedDeps
  #items: readonly Collected[]
  #saving: Promise<unknown> = Promise.resolve()
  #cancelTimer: (() => void) | null = null
  #closed = false

  constructor(deps: CollectedDeps, left: readonly Collected[]) {
    this.#deps = deps
    this.#items = left
  }

  add(item: Collected): void {
    this.#items = [...this.#items, item].slice(-this.#deps.limits.collectedMax)
    this.#save()
    this.flush()
  }

  /** Everything that is not known to be stored; again after a while, until it is. */
  flush(): void {
    this.#cancelTimer?.()
    this.#cancelTimer = null
    if (this.#items.length === 0 || this.#closed) return
    this.#deps.send(this.#items)
    this.#cancelTimer = this.#deps.clock.after(this.#deps.limits.collectedResendMs, () => this.flush())
  }

  stored(keys: readonly string[]): void {
    const gone = new Set(keys)
    const left = this.#items.filter(({ key }) => !gone.has(key))
    if (left.length === this.#items.length) return
    this.#items = left
    this.#save()
    if (left.length === 0) this.#cancelTimer?.()
  }

  async close(): Promise<void> {
    this.#closed = true
    this.#cancelTimer?.()
    await this.#saving
  }

  /** Without it a restart of the agent would lose an event; the deletion itself is in the log. */
  #save(): void {
    this.#saving = this.#saving.then(async () => {
      const saved = await this.#deps.save(this.#items)
      if (!saved.ok)
        this.#deps.log.warn('collected resources not written down', { error_code: saved.error.code, error: saved.error.detail })
    })
  }
}
