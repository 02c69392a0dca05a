// The healer's row of work: when an instance needs one, and with what it begins. Pure.
import type { InstanceId, OrgId } from '../../contracts/ids.ts'
import type { PhaseKind } from '../../contracts/phase.ts'
import type { HealRecord } from '../model/heal.ts'
import type { InstanceRecord } from '../model/instance.ts'

/** States in which the node does nothing more by itself. */
export const HEALABLE: readonly PhaseKind[] = ['failed', 'lost']

/** It may need the healer, who has no work yet for its present generation. */
export const isHealable = (now: InstanceRecord, heal: HealRecord | undefined): boolean =>
  HEALABLE.includes(now.phase.kind) &&
  now.deletedAtMs === null &&
  now.want === 'running' &&
  (heal === undefined || heal.generation < now.generation)

export interface NewHeal {
  readonly instanceId: InstanceId
  readonly orgId: OrgId
  readonly generation: number
  readonly dueAtMs: number
  readonly reason: string
}

export const freshHeal = (given: NewHeal, nowMs: number): HealRecord => ({
  ...given,
  givenUp: false,
  attempts: 0,
  lastError: null,
  createdAtMs: nowMs,
})

export interface HealClaim {
  readonly nowMs: number
  readonly leaseMs: number
  /** The name of this claim, like no other. */
  readonly lease: string
  readonly limit: number
}

export type PutBack = Pick<HealRecord, 'dueAtMs' | 'attempts' | 'generation' | 'givenUp' | 'lastError'>
