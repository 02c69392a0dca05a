// The words between probes (which measure), reconcile/health (which judges) and the loop (which carries).

import type { Address } from '../../contracts/agent-protocol.ts'
import type { CheckFailureReason } from '../../contracts/check-reasons.ts'
import type { InstanceId } from '../../contracts/ids.ts'
import type { CheckStanding } from '../../contracts/phase.ts'
import type { ReliabilityConfig } from '../../contracts/reliability.ts'
import type { Check, InstanceSpec } from '../../contracts/spec.ts'

/** One incarnation to watch. */
export interface Subject {
  readonly id: InstanceId
  readonly incarnation: number
  readonly nonce: string
  readonly spec: InstanceSpec
  readonly addresses: readonly Address[]
  readonly startedAtMs: number
  /** Its start was proven before: its start checks are not run again. */
  readonly proven: boolean
}

/** What one run of a check found. `inconclusive`: nothing follows from it, such as a deadline missed because this process was asleep. */
export type Measurement =
  | { readonly kind: 'pass'; readonly detail: string; readonly durationMs: number }
  | { readonly kind: 'fail'; readonly reason: CheckFailureReason; readonly detail: string; readonly durationMs: number }
  | { readonly kind: 'inconclusive'; readonly detail: string; readonly durationMs: number }

/** A measurement and what it belongs to. */
export interface Measured {
  readonly id: InstanceId
  readonly incarnation: number
  /** Position in the planned checks; 0 is the engine's own evidence. */
  readonly index: number
  readonly atMs: number
  /** Age of the incarnation, by a clock that never jumps. */
  readonly ageMs: number
  /** The agent itself had been asleep before this run, so results before and after it are not "in a row". */
  readonly wokenLate: boolean
  readonly measurement: Measurement
}

/** One check with every number decided. */
export interface PlannedCheck {
  readonly name: string
  readonly kind: CheckStanding['kind']
  readonly intervalMs: number
  readonly timeoutMs: number
  readonly failureThreshold: number
  /** Passes in a row until it counts as passing for the first time. */
  readonly successThreshold: number
  /** Passes in a row until it counts as passing again. */
  readonly recoveryThreshold: number
  /** Failures of this long after the start do not count. */
  readonly graceMs: number
}

/**
 * The checks of one instance, engine first, then the user's in their order. The node's recovery threshold is the least for all of
 * them: the user's `success_threshold` of 1 says when it is ready, not that one good answer ends an illness.
 */
export function plannedChecks(spec: Pick<InstanceSpec, 'health'>, config: ReliabilityConfig['healthCheck']): readonly PlannedCheck[] {
  const engine: PlannedCheck = {
    name: 'engine',
    kind: 'engine',
    intervalMs: config.intervalMs,
    timeoutMs: config.timeoutMs,
    failureThreshold: config.failureThreshold,
    successThreshold: 1,
    recoveryThreshold: config.recoveryThreshold,
    graceMs: 0,
  }
  const own = spec.health.map(
    (check): PlannedCheck => ({
      name: checkName(check),
      kind: check.kind,
      intervalMs: check.intervalMs,
      timeoutMs: check.timeoutMs,
      failureThreshold: check.failureThreshold,
      successThreshold: check.successThreshold,
      recoveryThreshold: Math.max(check.successThreshold, config.recoveryThreshold),
      graceMs: check.graceMs,
    }),
  )
  return [engine, ...own]
}

function checkName(check: Check): string {
  switch (check.type) {
    case 'tcp':
      return `tcp ${check.port}`
    case 'http':
      return `http ${check.port}${check.path}`
    case 'exec':
      // Arguments may hold secrets, and names are shown.
      return `exec ${check.command[0]}`
    default:
      return check satisfies never
  }
}
