// Finding instances, and creating them.
import { type ExpressionBuilder, sql } from 'kysely'
import { err, ok, type Result } from '../../base/result.ts'
import { Transition } from '../../contracts/agent-protocol.ts'
import { type Failure, failure } from '../../contracts/errors.ts'
import { type EnvId, InstanceId, type NodeId, type OrgId } from '../../contracts/ids.ts'
import type { Phase, PhaseKind } from '../../contracts/phase.ts'
import type { Selector } from '../../contracts/selector.ts'
import type { InstanceSpec, RecoveryMode } from '../../contracts/spec.ts'
import type { EnvMembership, InstanceRecord } from '../model/instance.ts'
import type { OrgScope } from '../model/org.ts'
import { attempt, uniqueViolation } from './attempt.ts'
import type { Db, Tx } from './db.ts'
import { json } from './json.ts'
import { checkCursor, type Page, type PageQuery, pageOf } from './page.ts'
import { INSTANCE_COLUMNS, instanceRecord, membershipColumns, StateName } from './records.ts'
import type { Schema } from './schema.ts'
import { selectorSql } from './selector.ts'

export interface NewInstance {
  readonly id: InstanceId
  readonly orgId: OrgId
  readonly name: string
  readonly spec: InstanceSpec
  readonly input: Readonly<Record<string, unknown>>
  readonly labels: Readonly<Record<string, string>>
  readonly metadata: Readonly<Record<string, string>>
  readonly membership: EnvMembership | null
  readonly recoveryMode: RecoveryMode | null
}

/** Fails with `name_taken`. */
export function createInstance(tx: Tx, given: NewInstance): Promise<Result<InstanceRecord, Failure>> {
  const phase: Phase = { kind: 'pending', reason: 'waiting_for_node', sinceMs: tx.nowMs, attempt: 0, lastError: null }
  return naming(given.name, async () => {
    const row = await tx.db
      .insertInto('instances')
      .values({
        id: given.id,
        org_id: given.orgId,
        name: given.name,
        runtime: given.spec.runtime,
        ...membershipColumns(given.membership),
        spec: json(given.spec),
        input: json(given.input),
        labels: json(given.labels),
        metadata: json(given.metadata),
        want: 'running',
        generation: 1,
        restart_seq: 0,
        recover_seq: 0,
        heal_seq: 0,
        recovery_mode: given.recoveryMode,
        node_id: null,
        refusals: '[]',
        phase: json(phase),
        state: phase.kind,
        observed_generation: 0,
        observed_epoch: 0,
        incarnation: 0,
        observed: null,
        last_transition_seq: 0,
        history_seq: 0,
        version: 1,
        memory_bytes: given.spec.memoryBytes,
        cpu_millis: given.spec.cpuMillis,
        created_at_ms: tx.nowMs,
        updated_at_ms: tx.nowMs,
        deleted_at_ms: null,
      })
      .returning(INSTANCE_COLUMNS)
      .executeTakeFirstOrThrow()
    tx.emit({
      type: 'instance.created',
      orgId: given.orgId,
      instanceId: given.id,
      data: { name: given.name, runtime: given.spec.runtime, actor: tx.actor },
    })
    tx.changed({ kind: 'instance', id: given.id })
    return instanceRecord(row)
  })
}

async function naming<T>(name: string, run: () => Promise<T>): Promise<Result<T, Failure>> {
  try {
    return await attempt(run)
  } catch (error) {
    if (uniqueViolation(error) === 'instances_name')
      return err(failure('name_taken', `An instance named ${name} exists.`, { field: 'name', name }))
    throw error
  }
}

/** By id, else unique name, else unique id prefix. A deleted one is found by its whole id only. Fails with `not_found`, `ambiguous_id`. */
export async function findInstance(db: Db, ref: string, scope: OrgScope): Promise<Result<InstanceRecord, Failure>> {
  const found = await attempt(() => lookUp(db, ref, scope))
  if (!found.ok) return found
  const [first, second] = found.value
  if (first === undefined) return err(failure('not_found', `No instance ${ref}.`, { kind: 'instance', ref }))
  if (second === undefined) return ok(first)
  return err(
    failure('ambiguous_id', `${ref} matches ${found.value.length === MATCHES_SHOWN ? 'at least ' : ''}${found.value.length} instances.`, {
      ref,
      matches: found.value.map((one) => one.id),
    }),
  )
}

const MATCHES_SHOWN = 5

/** At most MATCHES_SHOWN, of the first rule that finds any. */
async function lookUp(db: Db, ref: string, scope: OrgScope): Promise<readonly InstanceRecord[]> {
  const all = db.selectFrom('instances').select(INSTANCE_COLUMNS).limit(MATCHES_SHOWN)
  const query = scope === null ? all : all.where('org_id', '=', scope)
  if (InstanceId.safeParse(ref).success) return (await query.where('id', '=', ref).execute()).map(instanceRecord)
  const live = query.where('deleted_at_ms', 'is', null)
  const named = await live.where('name', '=', ref).execute()
  if (named.length > 0 || !ID_PREFIX.test(ref)) return named.map(instanceRecord)
  // A range and not LIKE: it needs no escaping, and the index of the primary key serves it in any collation.
  const prefixed = await live.where('id', '>=', ref).where('id', '<', `${ref}~`).orderBy('id').execute()
  return prefixed.map(instanceRecord)
}

const ID_PREFIX = /^inst_[0-9a-z]{1,20}$/

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
