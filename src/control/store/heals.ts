// The healer's work: one row per instance, claimed with a lease.
import { sql } from 'kysely'
import type { Result } from '../../base/result.ts'
import type { Failure } from '../../contracts/errors.ts'
import type { InstanceId } from '../../contracts/ids.ts'
import type { ClaimedHeal, HealRecord } from '../model/heal.ts'
import type { InstanceRecord } from '../model/instance.ts'
import { attempt } from './attempt.ts'
import type { Db, Tx } from './db.ts'
import { freshHeal, HEALABLE, type HealClaim, type NewHeal, type PutBack } from './heal-fold.ts'
import { healRecord, INSTANCE_COLUMNS, instanceRecord } from './records.ts'

const HEAL_COLUMNS = [
  'instance_id',
  'org_id',
  'generation',
  'given_up',
  'due_at_ms',
  'attempts',
  'reason',
  'last_error',
  'created_at_ms',
] as const

/** Instances that may need the healer: phase `failed` or `lost`, wanted running, without a row of work for their present generation. Oldest change first. */
export function listHealable(db: Db, limit: number): Promise<Result<readonly InstanceRecord[], Failure>> {
  return attempt(async () => {
    const rows = await db
      .selectFrom('instances')
      .select(INSTANCE_COLUMNS)
      .where('state', 'in', HEALABLE)
      .where('deleted_at_ms', 'is', null)
      .where('want', '=', 'running')
      .where(({ not, exists, selectFrom }) =>
        not(
          exists(
            selectFrom('heals')
              .select('heals.instance_id')
              .whereRef('heals.instance_id', '=', 'instances.id')
              .whereRef('heals.generation', '>=', 'instances.generation'),
          ),
        ),
      )
      .orderBy('updated_at_ms')
      .orderBy('id')
      .limit(limit)
      .execute()
    return rows.map(instanceRecord)
  })
}

/** Adds work with no attempts; a row for an older generation is replaced, one for this or a newer generation is kept (false). */
export function scheduleHeal(tx: Tx, heal: NewHeal): Promise<Result<boolean, Failure>> {
  return attempt(async () => {
    const fresh = freshHeal(heal, tx.nowMs)
    const row = {
      org_id: fresh.orgId,
      generation: fresh.generation,
      given_up: fresh.givenUp,
      due_at_ms: fresh.dueAtMs,
      attempts: fresh.attempts,
      reason: fresh.reason,
      last_error: fresh.lastError,
      lease: null,
      lease_until_ms: null,
      created_at_ms: fresh.createdAtMs,
    }
    const written = await tx.db
      .insertInto('heals')
      .values({ instance_id: heal.instanceId, ...row })
      .onConflict((conflict) => conflict.column('instance_id').doUpdateSet(row).where('heals.generation', '<', heal.generation))
      .returning('instance_id')
      .executeTakeFirst()
    if (written) tx.changed({ kind: 'heal', id: heal.instanceId })
    return written !== undefined
  })
}

/**
 * Claims due rows, at most `limit`, one organisation after the other: a thousand dead instances of one organisation do not hold up
 * another's first. Rows whose lease ran out are claimable again. Two claimers never get the same row.
 */
export function claimHeals(db: Db, given: HealClaim): Promise<Result<readonly ClaimedHeal[], Failure>> {
  const { nowMs } = given
  const due = sql`not given_up and due_at_ms <= ${nowMs} and (lease is null or lease_until_ms <= ${nowMs})`
  return attempt(async () => {
    // The conditions stand twice: the ranking reads a snapshot, the locked row is checked again as it is now.
    const { rows } = await sql<Parameters<typeof healRecord>[0] & { turn: number }>`
      with ranked as materialized (
        select instance_id, row_number() over (partition by org_id order by due_at_ms, instance_id) as turn from heals where ${due}
      ), picked as (
        select heals.instance_id, ranked.turn from heals join ranked using (instance_id) where ${due}
        order by ranked.turn, heals.due_at_ms, heals.instance_id limit ${given.limit} for update of heals skip locked
      )
      update heals set lease = ${given.lease}, lease_until_ms = ${nowMs + given.leaseMs}
      from picked where heals.instance_id = picked.instance_id
      returning heals.instance_id, org_id, generation, given_up, due_at_ms, attempts, reason, last_error, created_at_ms, picked.turn
    `.execute(db)
    const inTurn = [...rows].sort((left, right) => left.turn - right.turn || left.due_at_ms - right.due_at_ms)
    return inTurn.map((row) => ({ ...healRecord(row), lease: given.lease }))
  })
}

/** Puts it back with these values and without the lease. False when the lease was lost. */
export function postponeHeal(tx: Tx, heal: ClaimedHeal, given: PutBack): Promise<Result<boolean, Failure>> {
  return attempt(async () => {
    const row = await tx.db
      .updateTable('heals')
      .set({
        due_at_ms: given.dueAtMs,
        attempts: given.attempts,
        generation: given.generation,
        given_up: given.givenUp,
        last_error: given.lastError,
        lease: null,
        lease_until_ms: null,
      })
      .where('instance_id', '=', heal.instanceId)
      .where('lease', '=', heal.lease)
      .returning('instance_id')
      .executeTakeFirst()
    return row !== undefined
  })
}

/** Ends the work of a claimed row. False when the lease was lost. */
export function finishHeal(tx: Tx, heal: ClaimedHeal): Promise<Result<boolean, Failure>> {
  return attempt(async () => {
    const gone = await tx.db
      .deleteFrom('heals')
      .where('instance_id', '=', heal.instanceId)
      .where('lease', '=', heal.lease)
      .executeTakeFirst()
    return gone.numDeletedRows > 0n
  })
}

export function getHeal(db: Db, instanceId: InstanceId): Promise<Result<HealRecord | null, Failure>> {
  return attempt(async () => {
    const row = await db.selectFrom('heals').select(HEAL_COLUMNS).where('instance_id', '=', instanceId).executeTakeFirst()
    return row ? healRecord(row) : null
  })
}

/** Those of the given instances that have one. */
export function getHeals(db: Db, ids: readonly InstanceId[]): Promise<Result<ReadonlyMap<InstanceId, HealRecord>, Failure>> {
  return attempt(async () => {
    if (ids.length === 0) return new Map()
    const rows = await db.selectFrom('heals').select(HEAL_COLUMNS).where('instance_id', 'in', ids).execute()
    return new Map(rows.map(healRecord).map((heal) => [heal.instanceId, heal]))
  })
}

/** When the next row may be claimed (due, and not under a lease), to know how long to sleep; null when there is none. */
export function nextHealDueMs(db: Db): Promise<Result<number | null, Failure>> {
  return attempt(async () => {
    const row = await db
      .selectFrom('heals')
      .select(sql<number | null>`min(greatest(due_at_ms, coalesce(lease_until_ms, 0)))`.as('due'))
      .where('given_up', '=', false)
      .executeTakeFirst()
    return row?.due ?? null
  })
}
