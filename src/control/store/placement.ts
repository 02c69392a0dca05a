// Placing instances on nodes, and what a node is to run.
import { type ExpressionBuilder, sql } from 'kysely'
import { err, ok, type Result } from '../../base/result.ts'
import type { Desired } from '../../contracts/agent-protocol.ts'
import type { Failure } from '../../contracts/errors.ts'
import { InstanceId, type NodeId } from '../../contracts/ids.ts'
import type { LastError } from '../../contracts/phase.ts'
import type { InstanceRecord, NodeRefusal } from '../model/instance.ts'
import { applyFold } from './apply.ts'
import { attempt, Rollback } from './attempt.ts'
import type { Db, Tx } from './db.ts'
import { ledgerOf } from './ledger.ts'
import { desiredOf, foldLost, foldPlaced, foldRefused, NEVER_LOST, refuseForSize } from './placement-fold.ts'
import { INSTANCE_COLUMNS, instanceRecord } from './records.ts'
import type { Schema } from './schema.ts'
import { noNode } from './session-fold.ts'

/**
 * Instances that want a node and have none, by id (oldest first), after the given one: those that no node takes hide nobody. With
 * `among` only of these.
 */
export function listUnplaced(
  db: Db,
  limit: number,
  after?: InstanceId,
  among?: readonly InstanceId[],
): Promise<Result<readonly InstanceRecord[], Failure>> {
  return attempt(async () => {
    const every = db.selectFrom('instances').select(INSTANCE_COLUMNS).where(unplaced).orderBy('id').limit(limit)
    const all = among === undefined ? every : every.where('id', '=', sql<string>`any (${[...among]}::text[])`)
    const rows = await (after === undefined ? all : all.where('id', '>', after)).execute()
    return rows.map(instanceRecord)
  })
}

// `state` narrows it to the few pending rows by its index; want and node_id are what counts.
function unplaced(where: ExpressionBuilder<Schema, 'instances'>) {
  return where.and([
    where('state', '=', 'pending'),
    where('deleted_at_ms', 'is', null),
    where('node_id', 'is', null),
    where('want', '=', 'running'),
  ])
}

/**
 * Places it if it still is unplaced and wanted; null when that has changed. The node's ledger is checked under its row lock, so
 * two placements never oversubscribe it: `node_full` with dimension, requested, available. `not_found` when there is no such node.
 */
export function placeInstance(tx: Tx, id: InstanceId, nodeId: NodeId): Promise<Result<InstanceRecord | null, Failure>> {
  return attempt(async () => {
    const node = await tx.db.selectFrom('nodes').select(['id', 'facts']).where('id', '=', nodeId).forNoKeyUpdate().executeTakeFirst()
    if (!node) throw new Rollback(noNode(nodeId))
    const now = await lockUnplaced(tx.db, id)
    if (!now) return null
    const refused = refuseForSize(now, nodeId, await ledgerOf(tx.db, nodeId))
    if (refused) throw new Rollback(refused)
    return applyFold(tx, now, foldPlaced(now, nodeId, tx.actor, tx.nowMs))
  })
}

/** With its row lock held from here on; undefined when it is no longer to be placed. */
async function lockUnplaced(db: Db, id: InstanceId): Promise<InstanceRecord | undefined> {
  const row = await db
    .selectFrom('instances')
    .select(INSTANCE_COLUMNS)
    .where('id', '=', id)
    .where(unplaced)
    .forNoKeyUpdate()
    .executeTakeFirst()
  return row && instanceRecord(row)
}

/** Records why no node takes it; writes and emits only when the refusals changed. */
export function refuseInstance(tx: Tx, id: InstanceId, refusals: readonly NodeRefusal[], error: LastError): Promise<Result<void, Failure>> {
  return attempt(async () => {
    const now = await lockUnplaced(tx.db, id)
    if (!now) return
    const fold = foldRefused(now, refusals, error, tx.nowMs)
    if (fold) await applyFold(tx, now, fold)
  })
}

/** The whole desired set of a node (for `welcome`), and up to which transition each is stored. */
export function desiredOfNode(db: Db, nodeId: NodeId): Promise<Result<readonly { desired: Desired; seq: number }[], Failure>> {
  return attempt(async () => {
    const rows = await db
      .selectFrom('instances')
      .select(INSTANCE_COLUMNS)
      .where('node_id', '=', nodeId)
      .where('deleted_at_ms', 'is', null)
      .orderBy('id')
      .execute()
    return rows.map(instanceRecord).map((now) => ({ desired: desiredOf(now), seq: now.lastTransitionSeq }))
  })
}

/** Those that are gone are left out. */
export function desiredByIds(
  db: Db,
  ids: readonly InstanceId[],
): Promise<Result<readonly { desired: Desired; nodeId: NodeId | null }[], Failure>> {
  return attempt(async () => {
    const rows = await db
      .selectFrom('instances')
      .select(INSTANCE_COLUMNS)
      .where('id', '=', sql<string>`any (${[...ids]}::text[])`)
      .where('deleted_at_ms', 'is', null)
      .execute()
    return rows.map(instanceRecord).map((now) => ({ desired: desiredOf(now), nodeId: now.nodeId }))
  })
}

/** Marks the live instances of a node whose phase is not resting as `lost`; returns their ids. None when the node is connected after all. */
export async function markLost(tx: Tx, nodeId: NodeId): Promise<Result<readonly InstanceId[], Failure>> {
  const node = await attempt(() =>
    tx.db.selectFrom('nodes').select('connected').where('id', '=', nodeId).forNoKeyUpdate().executeTakeFirst(),
  )
  if (!node.ok) return node
  if (!node.value) return err(noNode(nodeId))
  if (node.value.connected) return ok([])
  return attempt(async () => {
    const rows = await tx.db
      .selectFrom('instances')
      .select(INSTANCE_COLUMNS)
      .where('node_id', '=', nodeId)
      .where('deleted_at_ms', 'is', null)
      .where('state', 'not in', NEVER_LOST)
      .orderBy('id')
      .forNoKeyUpdate()
      .execute()
    for (const now of rows.map(instanceRecord)) await applyFold(tx, now, foldLost(now, tx.nowMs))
    return rows.map((row) => InstanceId.parse(row.id))
  })
}
