// Placing instances on nodes, and what a node is to run.
import { type ExpressionBuilder, sql } from 'kysely'
import { err, ok, type Result } from '../../base/result.ts'
import type { Desired } from '../../contracts/agent-protocol.ts'
import { type Failure, failure } from '../../contracts/errors.ts'
import { InstanceId, type NodeId } from '../../contracts/ids.ts'
import type { LastError, Phase } from '../../contracts/phase.ts'
import type { InstanceRecord, NodeRefusal } from '../model/instance.ts'
import { attempt, Rollback } from './attempt.ts'
import type { Db, Tx } from './db.ts'
import { json } from './json.ts'
import { ledgerOf } from './ledger.ts'
import { INSTANCE_COLUMNS, instanceRecord } from './records.ts'
import type { Schema } from './schema.ts'
import { recordStep } from './steps.ts'

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
    if (!node) throw new Rollback(failure('not_found', `No node ${nodeId}.`, { kind: 'node', ref: nodeId }))
    const now = await lockUnplaced(tx.db, id)
    if (!now) return null
    const refused = await refuseForSize(tx.db, now, nodeId)
    if (refused) throw new Rollback(refused)
    const phase: Phase = { kind: 'placed', reason: 'requested', sinceMs: tx.nowMs, attempt: 0, lastError: null }
    const row = await tx.db
      .updateTable('instances')
      .set({
        node_id: nodeId,
        generation: now.generation + 1,
        version: now.version + 1,
        refusals: '[]',
        phase: json(phase),
        state: phase.kind,
        updated_at_ms: tx.nowMs,
      })
      .where('id', '=', id)
      .returning(INSTANCE_COLUMNS)
      .executeTakeFirstOrThrow()
    await recordStep(tx, now, phase)
    tx.emit({
      type: 'instance.placed',
      orgId: now.orgId,
      instanceId: id,
      nodeId,
      data: { node_id: nodeId, generation: row.generation, actor: tx.actor },
    })
    tx.changed({ kind: 'instance', id })
    return instanceRecord(row)
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

/** Memory only: CPU is shared in time, so it is a matter of scoring. */
async function refuseForSize(db: Db, now: InstanceRecord, nodeId: NodeId): Promise<Failure | null> {
  const ledger = await ledgerOf(db, nodeId)
  const requested = now.spec.memoryBytes
  const available = Math.max(0, ledger.allocatableMemoryBytes - ledger.reservedMemoryBytes)
  if (requested <= available) return null
  const fields = { node_id: nodeId, dimension: 'memory', requested, available }
  return failure('node_full', `${nodeId} has ${available} bytes of memory left; ${now.name} needs ${requested}.`, fields)
}

/** Records why no node takes it; writes and emits only when the refusals changed. */
export function refuseInstance(tx: Tx, id: InstanceId, refusals: readonly NodeRefusal[], error: LastError): Promise<Result<void, Failure>> {
  return attempt(async () => {
    const now = await lockUnplaced(tx.db, id)
    if (!now) return
    if (now.phase.lastError?.code === error.code && now.phase.reason === 'no_node' && sameRefusals(now.refusals, refusals)) return
    const phase: Phase = { kind: 'pending', reason: 'no_node', sinceMs: now.phase.sinceMs, attempt: 0, lastError: error }
    await tx.db
      .updateTable('instances')
      .set({ refusals: json(refusals), phase: json(phase), updated_at_ms: tx.nowMs })
      .where('id', '=', id)
      .execute()
    const data = {
      error: { code: error.code, detail: error.detail },
      nodes: refusals.map((one) => ({ node_id: one.nodeId, refused_by: one.refusedBy, detail: one.detail })),
    }
    tx.emit({ type: 'instance.refused', orgId: now.orgId, instanceId: id, data })
    tx.changed({ kind: 'instance', id })
  })
}

/** Which node refuses by which rule; the figures in the detail move all the time and are not worth an event each. */
function sameRefusals(left: readonly NodeRefusal[], right: readonly NodeRefusal[]): boolean {
  const names = (list: readonly NodeRefusal[]) =>
    list
      .map((one) => `${one.nodeId} ${one.refusedBy}`)
      .sort()
      .join()
  return names(left) === names(right)
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

function desiredOf(now: InstanceRecord): Desired {
  return {
    id: now.id,
    orgId: now.orgId,
    name: now.name,
    generation: now.generation,
    want: now.want,
    spec: now.spec,
    labels: now.labels,
    recoveryMode: now.recoveryMode,
    restartSeq: now.restartSeq,
    recoverSeq: now.recoverSeq,
    healSeq: now.healSeq,
  }
}

/** Marks the live instances of a node whose phase is not resting as `lost`; returns their ids. None when the node is connected after all. */
export async function markLost(tx: Tx, nodeId: NodeId): Promise<Result<readonly InstanceId[], Failure>> {
  const node = await attempt(() =>
    tx.db.selectFrom('nodes').select('connected').where('id', '=', nodeId).forNoKeyUpdate().executeTakeFirst(),
  )
  if (!node.ok) return node
  if (!node.value) return err(failure('not_found', `No node ${nodeId}.`, { kind: 'node', ref: nodeId }))
  if (node.value.connected) return ok([])
  return attempt(async () => {
    const rows = await tx.db
      .selectFrom('instances')
      .select(INSTANCE_COLUMNS)
      .where('node_id', '=', nodeId)
      .where('deleted_at_ms', 'is', null)
      .where('state', 'not in', ['stopped', 'quarantined', 'failed', 'completed', 'lost', 'deleted'])
      .orderBy('id')
      .forNoKeyUpdate()
      .execute()
    const phase: Phase = { kind: 'lost', reason: 'node_lost', sinceMs: tx.nowMs, attempt: 0, lastError: null }
    for (const now of rows.map(instanceRecord)) {
      await tx.db
        .updateTable('instances')
        .set({ phase: json(phase), state: phase.kind, updated_at_ms: tx.nowMs })
        .where('id', '=', now.id)
        .execute()
      await recordStep(tx, now, phase)
      tx.changed({ kind: 'instance', id: now.id })
    }
    return rows.map((row) => InstanceId.parse(row.id))
  })
}
