// The healer's work: one row per instance, claimed with a lease.
import type { Result } from '../../base/result.ts'
import type { Failure } from '../../contracts/errors.ts'
import type { InstanceId, OrgId } from '../../contracts/ids.ts'
import type { ClaimedHeal, HealRecord } from '../model/heal.ts'
import type { InstanceRecord } from '../model/instance.ts'
import type { Db, Tx } from './db.ts'

const later = (): never => {
  throw new Error('being written')
}

/** Instances that may need the healer: phase `failed` or `lost`, wanted running, without a row of work for their present generation. Oldest change first. */
export function listHealable(_db: Db, _limit: number): Promise<Result<readonly InstanceRecord[], Failure>> {
  return later()
}

export interface NewHeal {
  readonly instanceId: InstanceId
  readonly orgId: OrgId
  readonly generation: number
  readonly dueAtMs: number
  readonly reason: string
}

/** Adds work with no attempts; a row for an older generation is replaced, one for this or a newer generation is kept (false). */
export function scheduleHeal(_tx: Tx, _heal: NewHeal): Promise<Result<boolean, Failure>> {
  return later()
}

/**
 * Claims due rows, at most `limit`, one organisation after the other: a thousand dead instances of one organisation do not hold up
 * another's first. Rows whose lease ran out are claimable again. Two claimers never get the same row.
 */
export function claimHeals(
  _db: Db,
  _given: { readonly nowMs: number; readonly leaseMs: number; readonly lease: string; readonly limit: number },
): Promise<Result<readonly ClaimedHeal[], Failure>> {
  return later()
}

/** Puts it back with these values and without the lease. False when the lease was lost. */
export function postponeHeal(
  _tx: Tx,
  _heal: ClaimedHeal,
  _given: {
    readonly dueAtMs: number
    readonly attempts: number
    readonly generation: number
    readonly givenUp: boolean
    readonly lastError: string | null
  },
): Promise<Result<boolean, Failure>> {
  return later()
}

/** Ends the work of a claimed row. False when the lease was lost. */
export function finishHeal(_tx: Tx, _heal: ClaimedHeal): Promise<Result<boolean, Failure>> {
  return later()
}

/** Drops the work of an instance whoever holds it: it healed by itself, was stopped, or is gone. */
export function dropHeal(_tx: Tx, _instanceId: InstanceId): Promise<Result<void, Failure>> {
  return later()
}

export function getHeal(_db: Db, _instanceId: InstanceId): Promise<Result<HealRecord | null, Failure>> {
  return later()
}

/** When the next row is due, to know how long to sleep; null when there is none. */
export function nextHealDueMs(_db: Db): Promise<Result<number | null, Failure>> {
  return later()
}
