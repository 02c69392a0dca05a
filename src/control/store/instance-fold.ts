// What one write of the control plane makes of one instance, as data. Pure: what a change, a placement or a lost node means is said
// once, and every store applies it in its own way (apply.ts on PostgreSQL).
import type { Transition } from '../../contracts/agent-protocol.ts'
import type { Phase } from '../../contracts/phase.ts'
import type { NewEvent } from '../model/event.ts'
import type { InstanceRecord } from '../model/instance.ts'

export interface InstanceFold {
  readonly after: InstanceRecord
  /** It left its node: the agent of the next one is believed from its first word on, whatever its numbers. */
  readonly left: boolean
  /** What its history gets; numbered by the store. */
  readonly step: Omit<Transition, 'seq'> | null
  /** In the order in which they are told. */
  readonly events: readonly NewEvent[]
}

/** Steps kept of the history of an instance. */
export const HISTORY_MAX = 200

/** A phase that the control plane itself writes. */
export const ownPhase = (kind: 'pending' | 'placed' | 'lost' | 'deleted', reason: Phase['reason'], nowMs: number): Phase => ({
  kind,
  reason,
  sinceMs: nowMs,
  attempt: 0,
  lastError: null,
})

/**
 * A step that the control plane itself takes (pending, placed, lost, deleted while unplaced): the same history and the same event as
 * for those that agents report.
 */
export function stepTo(now: InstanceRecord, to: Phase, nowMs: number): { readonly step: InstanceFold['step']; readonly event: NewEvent } {
  const { incarnation } = now
  return {
    step: { atMs: nowMs, from: now.phase.kind, to, incarnation, exit: null },
    event: {
      type: 'instance.state_changed',
      orgId: now.orgId,
      instanceId: now.id,
      nodeId: now.nodeId,
      data: stateChange(now.phase.kind, to, incarnation, nowMs, null),
    },
  }
}

/** The data of `instance.state_changed`. */
export function stateChange(
  from: string | null,
  to: Phase,
  incarnation: number,
  atMs: number,
  exit: object | null,
): Record<string, unknown> {
  return {
    from,
    to: to.kind,
    reason: to.reason,
    incarnation,
    observed_at_ms: atMs,
    ...(to.attempt > 0 && { attempt: to.attempt }),
    ...(to.lastError && { error: { code: to.lastError.code, detail: to.lastError.detail } }),
    ...(exit && { exit }),
  }
}
