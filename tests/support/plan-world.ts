// A runtime in miniature for tests of the planner: executes what the plan says, and breaks on request.
import { expect } from 'vitest'
import type { Action, Facts, Note, Outcome, RecoveryPolicy, SeenObject, Turn, Verdict } from '../../src/agent/model/plan.ts'
import { type InstanceRecord, newRecord } from '../../src/agent/model/record.ts'
import { plan } from '../../src/agent/reconcile/plan.ts'
import type { Desired } from '../../src/contracts/agent-protocol.ts'
import { type Failure, failure } from '../../src/contracts/errors.ts'
import type { ModesInForce } from '../../src/contracts/modes.ts'
import type { InstanceInput, InstanceSpec } from '../../src/contracts/spec.ts'
import { specOf as wholeSpec } from './control-records.ts'
import { desiredOf } from './desired.ts'

export const POLICY: RecoveryPolicy = {
  mode: 'on',
  checked: true,
  maxRetries: 3,
  backoff: { baseMs: 30_000, factor: 2, maxMs: 300_000 },
  recoveryTimeoutMs: 600_000,
  stableAfterMs: 10_000,
  verifyAfterMs: 1000,
  cooldownMs: 300_000,
  endsMax: 10,
  endsWindowMs: 600_000,
  allowDataLoss: false,
}
export const MODES_ON: ModesInForce = { recovery: { mode: 'on', setOn: 'node' }, checks: { mode: 'on', setOn: 'node' } }
export const HEALTHY: Verdict = { health: 'unknown', reason: null, detail: '', startFailed: false, gated: false }
export const UNHEALTHY: Verdict = {
  health: 'unhealthy',
  reason: 'health_check_failed',
  detail: 'http: status 500',
  startFailed: false,
  gated: true,
}

export const specOf = (input: Partial<InstanceInput> = {}): InstanceSpec => wholeSpec({ command: ['serve'], ...input })

/** A runtime in miniature: executes what the plan says, and breaks on request. */
export class World {
  nowMs = 1_000_000
  objects: SeenObject[] = []
  reachable = true
  startFails: Failure | null = null
  stopFails: Failure | null = null
  /** What preparing answers for the host ports. */
  hostPorts: readonly number[] | null = null
  verdict: Verdict = HEALTHY
  policy = POLICY
  turn: Turn = { kind: 'granted', waitedMs: 0 }
  record: InstanceRecord
  notes: Note[] = []
  actions: Action[] = []
  wakeAtMs: number | null = null

  constructor(change: Partial<Desired> = {}) {
    this.record = newRecord(desiredOf(change), this.nowMs)
  }

  wish(change: Partial<Desired>): void {
    this.record = { ...this.record, desired: { ...this.record.desired, ...change, generation: this.record.desired.generation + 1 } }
    this.settle()
  }

  facts(outcome: Outcome | null): Facts {
    return {
      nowMs: this.nowMs,
      seen: this.reachable ? { kind: 'known', objects: this.objects } : { kind: 'unknown' },
      verdict: this.verdict,
      policy: this.policy,
      turn: this.turn,
      outcome,
      fraction: 0,
      freshNonce: `nonce-${this.record.incarnation + 1}`,
      shutdown: false,
    }
  }

  /** Plans and executes until quiet, as the loop does. */
  settle(): this {
    let outcome: Outcome | null = null
    for (let steps = 0; steps < 60; steps += 1) {
      const next = plan(this.record, this.facts(outcome))
      const moved = next.record.phase !== this.record.phase
      this.record = next.record
      this.notes.push(...next.notes)
      this.wakeAtMs = next.wakeAtMs
      outcome = next.action ? this.run(next.action) : null
      if (!next.action && (!moved || (next.wakeAtMs ?? 0) > this.nowMs)) return this
    }
    throw new Error(`never quiet: ${this.record.phase.kind} ${this.actions.slice(-4).map((action) => action.kind)}`)
  }

  run(action: Action): Outcome {
    this.actions.push(action)
    const fails = (why: Failure | null): Outcome =>
      why ? { action: action.kind, ok: false, failure: why } : { action: action.kind, ok: true }
    if (!this.reachable && action.kind !== 'prepare' && action.kind !== 'forget') return fails(failure('runtime_unreachable', 'away'))
    switch (action.kind) {
      case 'start': {
        if (this.startFails) return fails(this.startFails)
        expect(this.alive(), 'at most one live object').toHaveLength(0)
        expect(this.record.desired.want, 'nothing wished away is started').not.toMatch(/stopped|deleted/)
        this.objects = [
          ...this.objects,
          {
            incarnation: this.record.incarnation,
            nonce: this.record.nonce,
            state: 'running',
            exit: null,
            matches: true,
            startedAtMs: this.nowMs,
          },
        ]
        return fails(null)
      }
      case 'stop':
        if (this.stopFails) return fails(this.stopFails)
        for (const { incarnation } of action.objects) this.end(incarnation, { code: null, signal: 'SIGTERM' })
        return fails(null)
      case 'remove':
        this.objects = this.objects.filter((object) => !action.objects.some((gone) => gone.incarnation === object.incarnation))
        return fails(null)
      case 'pause':
      case 'resume':
        this.objects = this.objects.map((object) =>
          object.state === 'dead' ? object : { ...object, state: action.kind === 'pause' ? 'paused' : 'running' },
        )
        return fails(null)
      case 'prepare':
        return { action: 'prepare', ok: true, ...(this.hostPorts && { hostPorts: this.hostPorts }) }
      default:
        return fails(null)
    }
  }

  alive = () => this.objects.filter((object) => object.matches && (object.state === 'running' || object.state === 'paused'))

  end(incarnation: number, exit: { code: number | null; signal: string | null; oom?: boolean }): void {
    this.objects = this.objects.map((object) =>
      object.incarnation === incarnation ? { ...object, state: 'dead', exit: { oom: false, ...exit, atMs: this.nowMs } } : object,
    )
  }

  crash(exit: { code: number | null; signal: string | null; oom?: boolean } = { code: null, signal: 'SIGKILL' }): this {
    this.end(this.record.incarnation, exit)
    return this.settle()
  }

  pass(ms: number): this {
    this.nowMs += ms
    return this.settle()
  }

  /** Lets time run to the next wake-up the plan asked for. */
  toWake(): this {
    return this.pass(Math.max(1, (this.wakeAtMs ?? this.nowMs) - this.nowMs))
  }

  get kind() {
    return this.record.phase.kind
  }
}
