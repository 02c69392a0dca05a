// Runs the loops while this process holds the lease on them. Level-triggered: a notification only says "look again", a resync timer
// covers the lost ones, and a pass that finds nothing to do says nothing.
//
// One lease for all loops: one connection instead of five, and nothing is gained by spreading them over replicas. Losing it ends
// the passes; what a pass writes before it notices is refused by the epoch of the lease, inside the transaction.
// A store that is away is waited for with backoff, and named once per outage.
import { backoffMs } from '../../base/backoff.ts'
import { err, type Result } from '../../base/result.ts'
import { type Failure, failure } from '../../contracts/errors.ts'
import type { ChangeKey } from '../model/event.ts'
import type { StoreAccess } from '../store/access.ts'
import type { Lease } from '../store/lease.ts'
import type { LoopsDeps } from './deps.ts'
import { type Changes, Wake } from './wake.ts'

export interface Turn {
  readonly changes: Changes
  readonly signal: AbortSignal
  /** `store.write`, refused when another replica of the control plane has taken the lease over. */
  readonly write: StoreAccess['write']
}

/** `againMs`: look at everything again after this long even if nothing is heard; null = at the next resync. */
export interface Pass {
  readonly againMs: number | null
  /** What of it could not be done and held up nothing else; for health. */
  readonly failing?: string | null
}

export interface Loop {
  readonly name: string
  readonly resyncMs: number
  /** Two passes begin at least this far apart: under churn notifications fold instead of keeping a core busy. The first one is answered at once. */
  readonly gapMs: number
  readonly cares: (change: ChangeKey) => boolean
  readonly pass: (turn: Turn) => Promise<Result<Pass, Failure>>
  /** Called when the lease is gained: what was remembered may be out of date. */
  readonly reset?: () => void
}

export interface LoopHealth {
  readonly name: string
  readonly status: 'healthy' | 'degraded'
  readonly detail: string
}

const LEASE = 'loops'
/** A pass that takes longer is reported as stuck. */
const PASS_MS_MAX = 60_000

interface Running {
  readonly loop: Loop
  readonly wake: Wake
  failures: number
  lastError: Failure | null
  passSinceMs: number | null
  lastPassMs: number | null
  failing: string | null
}

export type RunnerDeps = Pick<LoopsDeps, 'clock' | 'random' | 'log' | 'meter' | 'config'> & {
  readonly store: Pick<StoreAccess, 'listen' | 'lease' | 'write'>
}

interface Held {
  readonly signal: AbortSignal
  readonly fenced: () => void
  readonly write: StoreAccess['write']
}

export class Runner {
  readonly #deps: RunnerDeps
  readonly #running: readonly Running[]
  readonly #stop = new AbortController()
  readonly #done: Promise<void>
  readonly #unlisten: () => void
  #epoch: number | null = null
  /** Since when the store has been away, on the monotonic clock. */
  #outageSinceMs: number | null = null
  /** Rises when the store goes away and when it is back. What was asked of it before that says nothing about it now. */
  #era = 0

  constructor(deps: RunnerDeps, loops: readonly Loop[]) {
    this.#deps = deps
    this.#running = loops.map((loop) => ({
      loop,
      wake: new Wake(deps.clock),
      failures: 0,
      lastError: null,
      passSinceMs: null,
      lastPassMs: null,
      failing: null,
    }))
    this.#unlisten = deps.store.listen((change) => this.#nudge(change))
    this.#done = this.#hold()
  }

  nudge(): void {
    this.#nudge(null)
  }

  health(): readonly LoopHealth[] {
    const nowMs = this.#deps.clock.elapsedMs()
    return this.#running.map((one) => {
      const { name } = one.loop
      if (one.lastError) return { name, status: 'degraded', detail: `failed ${one.failures} times in a row: ${one.lastError.code}` }
      if (this.#outageSinceMs !== null) return { name, status: 'degraded', detail: 'the store is away' }
      if (this.#epoch === null) return { name, status: 'healthy', detail: 'standing by' }
      if (one.passSinceMs !== null && nowMs - one.passSinceMs > PASS_MS_MAX)
        return { name, status: 'degraded', detail: `a pass has been running for ${Math.round((nowMs - one.passSinceMs) / 1000)} s` }
      if (one.failing !== null) return { name, status: 'degraded', detail: one.failing }
      return {
        name,
        status: 'healthy',
        detail: one.lastPassMs === null ? 'starting' : `looked ${Math.round((nowMs - one.lastPassMs) / 1000)} s ago`,
      }
    })
  }

  /** No new pass begins; resolves when the running ones have ended and the lease is given back. */
  close(): Promise<void> {
    this.#unlisten()
    this.#stop.abort(new Error('closing'))
    return this.#done
  }

  #nudge(change: ChangeKey | null): void {
    for (const { loop, wake } of this.#running) if (change === null || loop.cares(change)) wake.nudge(change)
  }

  async #hold(): Promise<void> {
    const { signal } = this.#stop
    for (let failures = 0; !signal.aborted; ) {
      const lease = await this.#lease()
      if (signal.aborted) {
        if (lease.ok) await lease.value.release()
        return
      }
      if (!lease.ok) {
        failures += 1
        this.#away(lease.error, this.#era)
        await this.#pause(failures, signal)
        continue
      }
      failures = 0
      await this.#runAll(lease.value)
    }
  }

  async #lease(): Promise<Result<Lease, Failure>> {
    try {
      return await this.#deps.store.lease(LEASE, this.#stop.signal)
    } catch (error) {
      // An abort may come as a rejection; anything else is a bug, told by the caller and tried again.
      return err(failure('internal', 'The lease of the loops could not be taken.', undefined, error))
    }
  }

  async #runAll(lease: Lease): Promise<void> {
    // No pass ran while it was asked for, so the answer is of now.
    this.#back(this.#era)
    this.#epoch = lease.epoch
    this.#deps.log.debug('loops hold the lease', { epoch: lease.epoch })
    const fenced = new AbortController()
    const held: Held = {
      signal: AbortSignal.any([this.#stop.signal, lease.signal, fenced.signal]),
      fenced: () => fenced.abort(new Error('another replica of the control plane has the lease')),
      write: (actor, run) =>
        this.#deps.store.write(actor, async (tx) => {
          const current = await tx.checkLease(lease)
          return current.ok ? run(tx) : current
        }),
    }
    for (const { loop, wake } of this.#running) {
      loop.reset?.()
      wake.nudge(null)
    }
    await Promise.all(this.#running.map((one) => this.#runLoop(one, held)))
    this.#epoch = null
    await lease.release()
  }

  async #runLoop(one: Running, held: Held): Promise<void> {
    const { clock } = this.#deps
    const { signal, write } = held
    one.failures = 0
    while (!signal.aborted) {
      const startMs = clock.elapsedMs()
      one.passSinceMs = startMs
      const era = this.#era
      const outcome = await this.#pass(one, { changes: one.wake.take(), signal, write })
      one.passSinceMs = null
      one.lastPassMs = clock.elapsedMs()
      if (!outcome.ok && outcome.error.code === 'lease_lost') held.fenced()
      if (signal.aborted) return
      if (!outcome.ok) {
        this.#failed(one, outcome.error, era)
        one.wake.nudge(null)
        await this.#pause(one.failures, signal)
        continue
      }
      this.#back(era)
      if (one.lastError) this.#deps.log.info('loop works again', { loop: one.loop.name, failures: one.failures })
      one.failures = 0
      one.lastError = null
      one.failing = outcome.value.failing ?? null
      await one.wake.wait(Math.min(one.loop.resyncMs, outcome.value.againMs ?? one.loop.resyncMs), signal)
      await this.#sleep(one.loop.gapMs - (clock.elapsedMs() - startMs), signal)
    }
  }

  async #pass(one: Running, turn: Turn): Promise<Result<Pass, Failure>> {
    try {
      return await one.loop.pass(turn)
    } catch (error) {
      return err(failure('internal', `The ${one.loop.name} loop met a bug.`, undefined, error))
    }
  }

  #failed(one: Running, error: Failure, era: number): void {
    one.failures += 1
    this.#deps.meter.count('errors_total', { code: error.code })
    if (error.code === 'store_unavailable') {
      this.#away(error, era)
      return
    }
    // Told when it begins; the repetitions are in the metric and in health.
    if (one.lastError === null || one.lastError.code !== error.code)
      this.#deps.log.error('loop failed', { loop: one.loop.name, error_code: error.code, error: error.detail, cause: text(error.cause) })
    one.lastError = error
  }

  #away(error: Failure, era: number): void {
    if (this.#outageSinceMs !== null || era !== this.#era || error.code === 'shutting_down') return
    this.#era += 1
    this.#outageSinceMs = this.#deps.clock.elapsedMs()
    this.#deps.log.warn('loops wait for the store', { error_code: error.code, error: error.detail, cause: text(error.cause) })
  }

  #back(era: number): void {
    if (this.#outageSinceMs === null || era !== this.#era) return
    this.#era += 1
    const downMs = Math.round(this.#deps.clock.elapsedMs() - this.#outageSinceMs)
    this.#outageSinceMs = null
    this.#deps.log.info('the store is back', { downtime_ms: downMs })
  }

  #pause(failures: number, signal: AbortSignal): Promise<void> {
    return this.#sleep(backoffMs(this.#deps.config.retry, failures, this.#deps.random.fraction()), signal)
  }

  async #sleep(durationMs: number, signal: AbortSignal): Promise<void> {
    if (durationMs <= 0) return
    await this.#deps.clock.sleep(durationMs, signal).catch(() => {
      // Aborted: the caller looks at the signal.
    })
  }
}

const text = (cause: unknown): string | null =>
  cause === undefined ? null : cause instanceof Error ? (cause.stack ?? cause.message) : String(cause)
