// Who may begin an automatic recovery now. At most `concurrencyMax` run at once; the others wait in a line that goes round the
// organisations, so that one with a thousand dead instances delays another's first by one turn. While the node's breaker is open none
// begins. What people ask for by hand, first starts and heals of the control plane do not come here.
//
// An instance is in at most one of: starting (its attempt has begun and has not led to a running object or a failure), unproven (its
// object runs and is not verified; only a half-open breaker waits for the proof), reserved (its turn has come and it was nudged),
// waiting. The reconcile loop says after each step which it is, so a turn that nobody takes up is passed on.
import type { Clock } from '../../base/clock.ts'
import { fairQueue } from '../../base/fair-queue.ts'
import type { Logger } from '../../base/log.ts'
import type { InstanceId, OrgId } from '../../contracts/ids.ts'
import type { Turn } from '../model/plan.ts'
import { type Breaker, type BreakerConfig, CLOSED, conclude, elapse, slots } from '../reconcile/breaker.ts'

export interface GateDeps {
  readonly clock: Clock
  readonly log: Logger
  readonly concurrencyMax: number
  readonly breaker: BreakerConfig
  nudge(id: InstanceId): void
}

/** How far an instance is with a recovery; `away` = it has nothing to do with one now. */
export type RecoveryStage = 'starting' | 'unproven' | 'waiting' | 'away'

export class Gate {
  readonly #deps: GateDeps
  readonly #starting = new Set<InstanceId>()
  readonly #unproven = new Set<InstanceId>()
  readonly #reserved = new Set<InstanceId>()
  readonly #queue = fairQueue<InstanceId, OrgId>()
  readonly #waitingSinceMs = new Map<InstanceId, number>()
  #breaker: Breaker = CLOSED
  #cancelTimer = () => {}

  constructor(deps: GateDeps) {
    this.#deps = deps
  }

  /** Attempts on their way to a running object. */
  get starting(): number {
    return this.#starting.size
  }

  get waiting(): number {
    return this.#queue.size + this.#reserved.size
  }

  /** Open or half open. */
  get breakerOpen(): boolean {
    return this.#now().kind !== 'closed'
  }

  /** What the planner is told; changes nothing. */
  turnOf(id: InstanceId): Turn {
    const nowMs = this.#deps.clock.elapsedMs()
    const granted: Turn = { kind: 'granted', waitedMs: nowMs - (this.#waitingSinceMs.get(id) ?? nowMs) }
    if (this.#starting.has(id) || this.#reserved.has(id)) return granted
    const breaker = this.#now()
    if (breaker.kind === 'open') return { kind: 'paused', failures: breaker.failures, forMs: breaker.untilMs - nowMs }
    if (this.#queue.size === 0 && this.#isFree(breaker)) return granted
    return { kind: 'queued', waiting: this.#queue.size - (this.#queue.has(id) ? 1 : 0), starting: this.#busy(breaker) }
  }

  /** Said after each step. */
  isAt(id: InstanceId, orgId: OrgId, stage: RecoveryStage): void {
    for (const set of [this.#reserved, this.#starting, this.#unproven]) set.delete(id)
    if (stage === 'starting') this.#starting.add(id)
    if (stage === 'unproven') this.#unproven.add(id)
    if (stage === 'waiting') {
      this.#queue.add(id, orgId)
      if (!this.#waitingSinceMs.has(id)) this.#waitingSinceMs.set(id, this.#deps.clock.elapsedMs())
    } else {
      this.#queue.remove(id)
      this.#waitingSinceMs.delete(id)
    }
    this.#look()
  }

  /** An attempt of a recovery ended. */
  concluded(id: InstanceId, ok: boolean): void {
    const atMs = this.#deps.clock.elapsedMs()
    this.#become(conclude(this.#now(), this.#deps.breaker, { id, ok, atMs }))
    this.#look()
  }

  close(): void {
    this.#cancelTimer()
  }

  #now(): Breaker {
    const next = elapse(this.#breaker, this.#deps.breaker, this.#deps.clock.elapsedMs())
    // A trial under way may still fail: its silence is not the end of the trouble.
    const onTrial = this.#breaker.kind === 'half_open' && this.#starting.size + this.#unproven.size > 0
    return onTrial && next.kind === 'closed' ? this.#breaker : next
  }

  #busy({ kind }: Breaker): number {
    return this.#starting.size + this.#reserved.size + (kind === 'half_open' ? this.#unproven.size : 0)
  }

  #isFree(breaker: Breaker): boolean {
    return this.#busy(breaker) < slots(breaker, this.#deps.concurrencyMax)
  }

  #look(): void {
    this.#become(this.#now())
    while (this.#isFree(this.#breaker)) {
      const id = this.#queue.next()
      if (id === undefined) return
      this.#reserved.add(id)
      this.#deps.nudge(id)
    }
  }

  #become(next: Breaker): void {
    const before = this.#breaker
    this.#breaker = next
    if (next === before || (next.kind === 'closed' && before.kind === 'closed')) return
    this.#tell(before, next)
    const { clock, breaker } = this.#deps
    this.#cancelTimer()
    const dueMs = next.kind === 'open' ? next.untilMs : next.kind === 'half_open' ? next.quietSinceMs + breaker.windowMs : null
    this.#cancelTimer = dueMs === null ? () => {} : clock.after(Math.max(1, dueMs - clock.elapsedMs()), () => this.#look())
  }

  #tell(before: Breaker, next: Breaker): void {
    const { clock, log, breaker, nudge } = this.#deps
    const nowMs = clock.elapsedMs()
    if (next.kind === 'open') {
      const { failures, openings, untilMs } = next
      const pause = { openings, pause_ms: Math.round(untilMs - nowMs) }
      log.error('recovery breaker opened', { scope: 'node', failures, window_ms: breaker.windowMs, ...pause })
      // So that they say what they wait for now.
      for (const id of this.#queue.keys()) nudge(id)
    } else if (next.kind === 'closed' && before.kind !== 'closed')
      log.info('recovery breaker closed', { scope: 'node', failures: before.failures, window_ms: Math.round(nowMs - before.sinceMs) })
  }
}
