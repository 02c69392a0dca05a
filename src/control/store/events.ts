// Reading the event log and the audit log. Writing them is `tx.emit` and `tx.audit`.
import { sql } from 'kysely'
import { z } from 'zod'
import type { Result } from '../../base/result.ts'
import type { Failure } from '../../contracts/errors.ts'
import type { InstanceId } from '../../contracts/ids.ts'
import type { Actor } from '../model/actor.ts'
import { type AuditRecord, EVENT_TYPES, type EventRecord } from '../model/event.ts'
import type { OrgScope } from '../model/org.ts'
import { attempt } from './attempt.ts'
import type { Db, Tx } from './db.ts'
import { checkCursor, type Page, type PageQuery, pageOf } from './page.ts'
import { NullableInstanceId, NullableNodeId, NullableOrgId } from './records.ts'

const EventName = z.enum(EVENT_TYPES)
const Data = z.record(z.string(), z.unknown())
const ActorName = z.custom<Actor>((value) => typeof value === 'string' && /^(token|system):/.test(value))
const Outcome = z.enum(['accepted', 'refused'])

export interface EventQuery {
  /** Events without an organisation (nodes) are seen by everybody. */
  readonly scope: OrgScope
  readonly after: number
  readonly limit: number
  readonly instanceId?: InstanceId
}

/** Oldest first, after the cursor. Nothing that commits later can have a lower cursor than what was returned. */
export function listEvents(db: Db, query: EventQuery): Promise<Result<readonly EventRecord[], Failure>> {
  return attempt(async () => {
    const rows = await visible(db, query).selectAll().where('cursor', '>', query.after).orderBy('cursor').limit(query.limit).execute()
    return rows.map((row) => ({
      cursor: row.cursor,
      atMs: row.at_ms,
      type: EventName.parse(row.type),
      orgId: NullableOrgId.parse(row.org_id),
      instanceId: NullableInstanceId.parse(row.instance_id),
      nodeId: NullableNodeId.parse(row.node_id),
      data: Data.parse(row.data),
    }))
  })
}

/** The cursor after which exactly the last `count` events stand; 0 when there are fewer. */
export function cursorBeforeLast(db: Db, query: Omit<EventQuery, 'after' | 'limit'>, count: number): Promise<Result<number, Failure>> {
  return attempt(async () => {
    const rows = await visible(db, query)
      .select('cursor')
      .orderBy('cursor', 'desc')
      .limit(count + 1)
      .execute()
    return rows.length > count ? (rows.at(-1)?.cursor ?? 0) : 0
  })
}

const visible = (db: Db, { scope, instanceId }: Omit<EventQuery, 'after' | 'limit'>) =>
  db
    .selectFrom('events')
    .where((where) =>
      where.and([
        ...(scope === null ? [] : [where.or([where('org_id', '=', scope), where('org_id', 'is', null)])]),
        ...(instanceId === undefined ? [] : [where('instance_id', '=', instanceId)]),
      ]),
    )

/** 0 when there is none. */
export function latestCursor(db: Db): Promise<Result<number, Failure>> {
  return attempt(async () => {
    const row = await db
      .selectFrom('events')
      .select((select) => select.fn.max('cursor').as('cursor'))
      .executeTakeFirst()
    return row?.cursor ?? 0
  })
}

/** Newest first. */
export async function listAudit(db: Db, query: PageQuery & { readonly scope: OrgScope }): Promise<Result<Page<AuditRecord>, Failure>> {
  const cursor = checkCursor(query.cursor, /^\d{1,15}$/)
  if (!cursor.ok) return cursor
  return attempt(async () => {
    const { scope } = query
    const rows = await db
      .selectFrom('audit')
      .selectAll()
      .where((where) =>
        where.and([
          ...(scope === null ? [] : [where('org_id', '=', scope)]),
          ...(cursor.value === null ? [] : [where('cursor', '<', Number(cursor.value))]),
        ]),
      )
      .orderBy('cursor', 'desc')
      .limit(query.limit + 1)
      .execute()
    return pageOf(
      rows,
      query.limit,
      (row) => String(row.cursor),
      (row) => ({
        cursor: row.cursor,
        atMs: row.at_ms,
        actor: ActorName.parse(row.actor),
        action: row.action,
        orgId: NullableOrgId.parse(row.org_id),
        target: row.target,
        outcome: Outcome.parse(row.outcome),
        requestId: row.request_id,
        data: Data.parse(row.data),
      }),
    )
  })
}

export interface Retention {
  readonly eventsBeforeMs: number
  readonly keysBeforeMs: number
  /** Of each kind. */
  readonly limit: number
}

/** Drops events and idempotency keys that are past their retention; the newest event always stays. Returns how many rows. */
export function trimLogs(tx: Tx, given: Retention): Promise<Result<number, Failure>> {
  return attempt(async () => {
    // The newest one carries the order on: the next cursor is one more than it.
    const events = await sql`
      delete from events where cursor in (
        select cursor from events where at_ms < ${given.eventsBeforeMs} and cursor < (select max(cursor) from events) order by cursor limit ${given.limit}
      )
    `.execute(tx.db)
    const keys = await sql`
      delete from idempotency where (scope, key) in (
        select scope, key from idempotency where created_at_ms < ${given.keysBeforeMs} order by created_at_ms limit ${given.limit} for update skip locked
      )
    `.execute(tx.db)
    return Number(events.numAffectedRows ?? 0n) + Number(keys.numAffectedRows ?? 0n)
  })
}
