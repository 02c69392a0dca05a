// Finding instances, and creating them.
import { type ExpressionBuilder, sql } from 'kysely'
import { err, type Result } from '../../base/result.ts'
import { Transition } from '../../contracts/agent-protocol.ts'
import type { Failure } from '../../contracts/errors.ts'
import type { EnvId, InstanceId, NodeId } from '../../contracts/ids.ts'
import type { PhaseKind } from '../../contracts/phase.ts'
import type { Selector } from '../../contracts/selector.ts'
import type { InstanceRecord } from '../model/instance.ts'
import type { OrgScope } from '../model/org.ts'
import { attempt, uniqueViolation } from './attempt.ts'
import type { Db, Tx } from './db.ts'
import { createdEvent, firstRecord, type NewInstance, nameTaken } from './desired-fold.ts'
import { instanceRules, MATCHES_SHOWN, theInstance } from './find.ts'
import { newColumns } from './instance-columns.ts'
import { checkCursor, type Page, type PageQuery, pageOf } from './page.ts'
import { INSTANCE_COLUMNS, instanceRecord, StateName } from './records.ts'
import type { Schema } from './schema.ts'
import { selectorSql } from './selector.ts'

/** Fails with `name_taken`. */
export function createInstance(tx: Tx, given: NewInstance): Promise<Result<InstanceRecord, Failure>> {
  return naming(given.name, async () => {
    const row = await tx.db
      .insertInto('instances')
      .values(newColumns(firstRecord(given, tx.actor, tx.nowMs)))
      .returning(INSTANCE_COLUMNS)
      .executeTakeFirstOrThrow()
    tx.emit(createdEvent(given, tx.actor))
    tx.changed({ kind: 'instance', id: given.id })
    return instanceRecord(row)
  })
}

async function naming<T>(name: string, run: () => Promise<T>): Promise<Result<T, Failure>> {
  try {
    return await attempt(run)
  } catch (error) {
    if (uniqueViolation(error) === 'instances_name') return err(nameTaken(name))
    throw error
  }
}

/** By id, else unique name, else unique id prefix. A deleted one is found by its whole id only. Fails with `not_found`, `ambiguous_id`. */
export async function findInstance(db: Db, ref: string, scope: OrgScope): Promise<Result<InstanceRecord, Failure>> {
  const found = await attempt(() => lookUp(db, ref, scope))
  return found.ok ? theInstance(ref, found.value) : found
}

/** At most MATCHES_SHOWN, of the first rule that finds any. */
async function lookUp(db: Db, ref: string, scope: OrgScope): Promise<readonly InstanceRecord[]> {
  const all = db.selectFrom('instances').select(INSTANCE_COLUMNS).limit(MATCHES_SHOWN)
  const query = scope === null ? all : all.where('org_id', '=', scope)
  const live = query.where('deleted_at_ms', 'is', null)
  const by = {
    id: () => query.where('id', '=', ref),
    name: () => live.where('name', '=', ref).orderBy('id'),
    // A range and not LIKE: it needs no escaping, and the index of the primary key serves it in any collation.
    prefix: () => live.where('id', '>=', ref).where('id', '<', `${ref}~`).orderBy('id'),
  }
  for (const rule of instanceRules(ref)) {
    const rows = await by[rule]().execute()
    if (rows.length > 0) return rows.map(instanceRecord)
  }
  return []
}

/** null when there is no such row. */
export function getInstance(db: Db, id: InstanceId): Promise<Result<InstanceRecord | null, Failure>> {
  return attempt(async () => {
    const row = await db.selectFrom('instances').select(INSTANCE_COLUMNS).where('id', '=', id).executeTakeFirst()
    return row ? instanceRecord(row) : null
  })
}

export interface InstanceQuery extends PageQuery {
  readonly scope: OrgScope
  readonly selector?: Selector
  readonly state?: PhaseKind
  readonly name?: string
  readonly envId?: EnvId
  readonly nodeId?: NodeId
  readonly includeDeleted?: boolean
}

/** Newest first, by keyset. A malformed cursor is `invalid_input`. */
export async function listInstances(db: Db, query: InstanceQuery): Promise<Result<Page<InstanceRecord>, Failure>> {
  const cursor = checkCursor(query.cursor, /^inst_[0-9a-z]{20}$/)
  if (!cursor.ok) return cursor
  return attempt(async () => {
    const rows = await db
      .selectFrom('instances')
      .select(INSTANCE_COLUMNS)
      .where((where) => where.and(conditions(where, query, cursor.value)))
      .orderBy('id', 'desc')
      .limit(query.limit + 1)
      .execute()
    return pageOf(rows, query.limit, (row) => row.id, instanceRecord)
  })
}

function conditions(where: ExpressionBuilder<Schema, 'instances'>, query: InstanceQuery, cursor: string | null) {
  return [
    ...(query.includeDeleted === true ? [] : [where('deleted_at_ms', 'is', null)]),
    ...(query.scope === null ? [] : [where('org_id', '=', query.scope)]),
    ...(query.state === undefined ? [] : [where('state', '=', query.state)]),
    ...(query.name === undefined ? [] : [where('name', '=', query.name)]),
    ...(query.envId === undefined ? [] : [where('env_id', '=', query.envId)]),
    ...(query.nodeId === undefined ? [] : [where('node_id', '=', query.nodeId)]),
    ...(cursor === null ? [] : [where('id', '<', cursor)]),
    ...selectorSql(query.selector ?? []),
  ]
}

/** All instances of an env that are not gone, ordered by process type and slot. */
export function listEnvInstances(db: Db, envId: EnvId): Promise<Result<readonly InstanceRecord[], Failure>> {
  return attempt(async () => {
    const rows = await db
      .selectFrom('instances')
      .select(INSTANCE_COLUMNS)
      .where('env_id', '=', envId)
      .where('deleted_at_ms', 'is', null)
      .orderBy('process_type')
      .orderBy('slot')
      .orderBy('id')
      .execute()
    return rows.map(instanceRecord)
  })
}

/** Oldest first, numbered over the whole life of the instance; the last 200 are kept. */
export function listTransitions(db: Db, id: InstanceId): Promise<Result<readonly Transition[], Failure>> {
  return attempt(async () => {
    const rows = await db.selectFrom('transitions').select(['seq', 'body']).where('instance_id', '=', id).orderBy('seq').execute()
    return rows.map((row) => Transition.parse({ ...row.body, seq: row.seq }))
  })
}

/** Live instances by runtime and state, for the gauges. */
export function countInstances(db: Db): Promise<Result<readonly { runtime: string; state: PhaseKind; count: number }[], Failure>> {
  return attempt(async () => {
    const rows = await db
      .selectFrom('instances')
      .where('deleted_at_ms', 'is', null)
      .groupBy(['runtime', 'state'])
      .select(['runtime', 'state', sql<number>`count(*)`.as('count')])
      .execute()
    return rows.map((row) => ({ ...row, state: StateName.parse(row.state) }))
  })
}

/** Removes rows deleted before `beforeMs`, with their transitions; returns how many. */
export function purgeInstances(tx: Tx, beforeMs: number, limit: number): Promise<Result<number, Failure>> {
  return attempt(async () => {
    const old = tx.db
      .selectFrom('instances')
      .select('id')
      .where('deleted_at_ms', '<', beforeMs)
      .orderBy('deleted_at_ms')
      .limit(limit)
      .forUpdate()
      .skipLocked()
    const gone = await tx.db.deleteFrom('instances').where('id', 'in', old).executeTakeFirst()
    return Number(gone.numDeletedRows)
  })
}
