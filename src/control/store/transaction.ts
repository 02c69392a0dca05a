// Writes. What a transaction emits is buffered and written last: the event log is one total order under one lock that is held to
// the commit, so it is taken after every row lock, by every writer. That keeps it short, and free of deadlocks.
//
// Lock order for all writers: idempotency key, node, instances (by id), event log.
import { sql } from 'kysely'
import type { Clock } from '../../base/clock.ts'
import type { Result } from '../../base/result.ts'
import type { Failure } from '../../contracts/errors.ts'
import type { Actor } from '../model/actor.ts'
import type { ChangeKey, NewAudit, NewEvent } from '../model/event.ts'
import { attempt, isRetryable, Rollback } from './attempt.ts'
import type { Db, Tx } from './db.ts'
import { json } from './json.ts'

/** First keys of our advisory locks: any other application in the same database uses other numbers. */
export const LOCKS = { events: 0x48_46_45_56, replica: 0x48_46_52_50, singleton: 0x48_46_53_47 } as const
export const CHANNEL = 'holdfast_changes'

const TRIES = 4
/** Beyond this many changes in one transaction everybody looks at everything once, instead of at each. */
const CHANGES_MAX = 256

interface Buffer {
  readonly events: NewEvent[]
  readonly audits: NewAudit[]
  readonly changes: Map<string, ChangeKey>
}

/** Runs `run` in a transaction; an `err` rolls back. A lost race (serialization failure, deadlock) is run again. */
export async function write<T>(
  deps: { readonly db: Db; readonly clock: Clock },
  actor: Actor,
  run: (tx: Tx) => Promise<Result<T, Failure>>,
): Promise<Result<T, Failure>> {
  for (let tries = 1; ; tries += 1) {
    const outcome = await attempt(() =>
      deps.db.transaction().execute(async (db) => {
        const buffer: Buffer = { events: [], audits: [], changes: new Map() }
        const nowMs = deps.clock.wallMs()
        const result = await run({
          db,
          nowMs,
          actor,
          emit: (event) => void buffer.events.push(event),
          audit: (row) => void buffer.audits.push(row),
          changed: (change) => void buffer.changes.set(`${change.kind} ${change.id}`, change),
        })
        if (!result.ok) throw new Rollback(result.error)
        await flush(db, nowMs, actor, buffer)
        return result.value
      }),
    )
    if (outcome.ok || tries === TRIES || !isRetryable(outcome.error)) return outcome
  }
}

async function flush(db: Db, nowMs: number, actor: Actor, buffer: Buffer): Promise<void> {
  if (buffer.audits.length > 0) {
    const rows = buffer.audits.map((row) => ({
      at_ms: nowMs,
      actor,
      action: row.action,
      org_id: row.orgId,
      target: row.target,
      outcome: row.outcome,
      request_id: row.requestId,
      data: json(row.data ?? {}),
    }))
    await db.insertInto('audit').values(rows).execute()
  }
  if (buffer.events.length > 0) buffer.changes.set('event', { kind: 'event', id: '' })
  if (buffer.changes.size > 0) {
    const payloads = buffer.changes.size > CHANGES_MAX ? [''] : [...buffer.changes.values()].map((change) => JSON.stringify(change))
    await sql`select pg_notify(${CHANNEL}, payload) from jsonb_array_elements_text(${JSON.stringify(payloads)}::jsonb) payload`.execute(db)
  }
  if (buffer.events.length > 0) await append(db, nowMs, buffer.events)
}

/**
 * Cursors are given under the lock, by looking at the newest one: no gaps, and nobody ever sees cursor n before everything below
 * it is committed. The lock is its own statement, so that the next one's snapshot is taken with the lock held.
 */
async function append(db: Db, nowMs: number, events: readonly NewEvent[]): Promise<void> {
  const rows = events.map((event) => ({
    type: event.type,
    org_id: event.orgId ?? null,
    instance_id: event.instanceId ?? null,
    node_id: event.nodeId ?? null,
    data: event.data ?? {},
  }))
  await sql`select pg_advisory_xact_lock(${sql.lit(LOCKS.events)}, 1)`.execute(db)
  await sql`
    insert into events (cursor, at_ms, type, org_id, instance_id, node_id, data)
    select head.cursor + fresh.n, ${nowMs}, row.type, row.org_id, row.instance_id, row.node_id, row.data
    from (select coalesce(max(cursor), 0) as cursor from events) head,
      jsonb_array_elements(${json(rows)}::jsonb) with ordinality as fresh(body, n),
      jsonb_to_record(fresh.body) as row(type text, org_id text, instance_id text, node_id text, data jsonb)
  `.execute(db)
}
