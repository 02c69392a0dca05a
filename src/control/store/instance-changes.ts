// Changes of the desired half, and of labels and metadata: always re-read under the row lock. What they mean is in desired-fold.ts.
import { err, ok, type Result } from '../../base/result.ts'
import type { Failure } from '../../contracts/errors.ts'
import type { InstanceId } from '../../contracts/ids.ts'
import type { InstanceRecord } from '../model/instance.ts'
import { applyFold } from './apply.ts'
import { attempt } from './attempt.ts'
import type { Db, Tx } from './db.ts'
import { type DesiredChange, foldDesired, foldMetadata, type MetadataChange, noInstance } from './desired-fold.ts'
import type { InstanceFold } from './instance-fold.ts'
import { INSTANCE_COLUMNS, instanceRecord } from './records.ts'

/**
 * Locks the row, lets `decide` look at it, and applies the change it returns. `decide` may refuse (the refusal is returned) or
 * return null: nothing to do, the row comes back unchanged. Wanting `deleted` for an unplaced instance deletes it at once.
 * A deleted instance is `not_found`; one wanted deleted refuses any other want with `wrong_state`.
 */
export function changeDesired(
  tx: Tx,
  id: InstanceId,
  decide: (now: InstanceRecord) => Result<DesiredChange | null, Failure>,
): Promise<Result<InstanceRecord, Failure>> {
  return change(tx, id, (now) => {
    const decision = decide(now)
    return decision.ok ? foldDesired(now, decision.value, tx.actor, tx.nowMs) : decision
  })
}

/** Fails with `version_conflict`, or `invalid_input` when the result would break a limit. Labels under holdfast.io/ are kept. */
export function putMetadata(tx: Tx, id: InstanceId, given: MetadataChange): Promise<Result<InstanceRecord, Failure>> {
  return change(tx, id, (now) => foldMetadata(now, given, tx.actor, tx.nowMs))
}

/** null from `fold` = the row comes back unchanged. */
async function change(
  tx: Tx,
  id: InstanceId,
  fold: (now: InstanceRecord) => Result<InstanceFold | null, Failure>,
): Promise<Result<InstanceRecord, Failure>> {
  const locked = await attempt(() => lockLive(tx.db, id))
  if (!locked.ok) return locked
  const now = locked.value
  if (now === null) return err(noInstance(id))
  const folded = fold(now)
  if (!folded.ok) return folded
  const { value } = folded
  return value === null ? ok(now) : attempt(() => applyFold(tx, now, value))
}

async function lockLive(db: Db, id: InstanceId): Promise<InstanceRecord | null> {
  const row = await db
    .selectFrom('instances')
    .select(INSTANCE_COLUMNS)
    .where('id', '=', id)
    .where('deleted_at_ms', 'is', null)
    .forNoKeyUpdate()
    .executeTakeFirst()
  return row ? instanceRecord(row) : null
}
