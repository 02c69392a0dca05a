// What fails of one item of a pass (an env, an instance) holds up none of the others. Counted each time, told when it begins and when it
// has passed; `detail` says what still fails. Only what is wrong for all of them, a store that is away or a lease that is lost, ends the pass.
import type { LogFields } from '../../base/log.ts'
import { err, OK, type Result } from '../../base/result.ts'
import { type ErrorCode, type Failure, failure } from '../../contracts/errors.ts'
import type { LoopsDeps } from './deps.ts'

/** One that has not failed again for this long is gone, or works: longer than every wait between two tries. */
const FORGET_MS = 600_000
/** Beyond this many the oldest is told once more. */
const KNOWN_MAX = 1000

const ENDS_THE_PASS: ReadonlySet<ErrorCode> = new Set(['store_unavailable', 'lease_lost', 'shutting_down'])

export class Faults {
  readonly #deps: Pick<LoopsDeps, 'clock' | 'log' | 'meter'>
  readonly #loop: string
  readonly #known = new Map<string, { readonly code: ErrorCode; readonly atMs: number }>()

  constructor(deps: Pick<LoopsDeps, 'clock' | 'log' | 'meter'>, loop: string) {
    this.#deps = deps
    this.#loop = loop
  }

  /** Does `work` for each item until aborted. `about` names the item in the log. Fails only with what ends the pass. */
  async each<T>(
    items: readonly T[],
    signal: AbortSignal,
    about: (item: T) => LogFields,
    work: (item: T) => Promise<Result<void, Failure>>,
  ): Promise<Result<void, Failure>> {
    for (const item of items) {
      if (signal.aborted) break
      const done = await attempt(item, work)
      if (!done.ok && ENDS_THE_PASS.has(done.error.code)) return done
      this.#note(about(item), done.ok ? null : done.error)
    }
    return OK
  }

  /** What failed at its last try; null when nothing did. */
  detail(): string | null {
    const oldestMs = this.#deps.clock.elapsedMs() - FORGET_MS
    for (const [key, { atMs }] of this.#known) if (atMs < oldestMs) this.#known.delete(key)
    const codes = new Set([...this.#known.values()].map(({ code }) => code))
    return codes.size === 0 ? null : `${this.#known.size} of its items fail: ${[...codes].join(', ')}`
  }

  clear(): void {
    this.#known.clear()
  }

  #note(about: LogFields, error: Failure | null): void {
    const { clock, log, meter } = this.#deps
    const key = JSON.stringify(about)
    const before = this.#known.get(key)
    this.#known.delete(key)
    if (error === null) {
      if (before) log.info('loop item works again', { loop: this.#loop, ...about })
      return
    }
    meter.count('errors_total', { code: error.code })
    if (before?.code !== error.code)
      log.error('loop item failed', { loop: this.#loop, ...about, error_code: error.code, error: error.detail, cause: textOf(error.cause) })
    this.#known.set(key, { code: error.code, atMs: clock.elapsedMs() })
    const oldest = this.#known.size > KNOWN_MAX ? this.#known.keys().next().value : undefined
    if (oldest !== undefined) this.#known.delete(oldest)
  }
}

async function attempt<T>(item: T, work: (item: T) => Promise<Result<void, Failure>>): Promise<Result<void, Failure>> {
  try {
    return await work(item)
  } catch (error) {
    return err(failure('internal', 'It met a bug.', undefined, error))
  }
}

const textOf = (cause: unknown): string | null =>
  cause === undefined ? null : cause instanceof Error ? (cause.stack ?? cause.message) : String(cause)
