// Writes. What a transaction emits is buffered and handed over in its last statement; the event log, one total order under one lock
// for all writers, is appended to inside of COMMIT (migrations/0001-first.ts). So that lock comes after every row lock, for every
// writer, and is never held while a client thinks: short, and free of deadlocks.
//
// Lock order for all writers: idempotency key, node, instances (by id), event log.
import { type RawBuilder, sql } from 'kysely'
import type { Clock } from '../../base/clock.ts'
import type { Result } from '../../base/result.ts'
import type { Failure } from '../../contracts/errors.ts'
import type { Actor } from '../model/actor.ts'
import type { NewAudit, NewEvent } from '../model/event.ts'
import { attempt, isRetryable, Rollback } from './attempt.ts'
import type { Db, Tx } from './db.ts'
import { json } from './json.ts'
import { WriteBuffer } from './write-buffer.ts'

/** First keys of our advisory locks: any other application in the same database uses other numbers. */
export const LOCKS = { replica: 0x48_46_52_50, singleton: 0x48_46_53_47 } as const
export const CHANNEL = 'holdfast_changes'

const TRIES = 4
/** Runs `run` in a transaction; an `err` rolls back. A lost race (serialization failure, deadlock) is run again. */
export async function write<T>(
  deps: { readonly db: Db; readonly clock: Clock },
  actor: Actor,
  run: (tx: Tx) => Promise<Result<T, Failure>>,
): Promise<Result<T, Failure>> {
  for (let tries = 1; ; tries += 1) {
    const outcome = await attempt(() =>
      deps.db.transaction().execute(async (db) => {
        const buffer = new WriteBuffer()
        const nowMs = deps.clock.wallMs()
        const { emit, audit, changed } = buffer
        const result = await run({ db, nowMs, actor, emit, audit, changed })
        if (!result.ok) throw new Rollback(result.error)
        await flush(db, nowMs, actor, buffer)
        return result.value
      }),
    )
    if (outcome.ok || tries === TRIES || !isRetryable(outcome.error)) return outcome
  }
}

/** One statement. The audit rows and the notifications become visible with the commit, and so do the events (see the outbox). */
async function flush(db: Db, nowMs: number, actor: Actor, buffer: WriteBuffer): Promise<void> {
  const { events, audits } = buffer
  const payloads = buffer.changes().map((change) => (change === null ? '' : JSON.stringify(change)))
  const parts = [
    ...(audits.length > 0 ? [sql`audited as (${insertAudits(nowMs, actor, audits)})`] : []),
    ...(events.length > 0
      ? [sql`queued as (insert into outbox (at_ms, events) values (${nowMs}, ${json(events.map(eventRow))}::jsonb))`]
      : []),
  ]
  if (parts.length + payloads.length === 0) return
  await sql`
    ${parts.length > 0 ? sql`with ${sql.join(parts)}` : sql``}
    select pg_notify(${CHANNEL}, payload) from jsonb_array_elements_text(${JSON.stringify(payloads)}::jsonb) payload
  `.execute(db)
}

function insertAudits(nowMs: number, actor: Actor, audits: readonly NewAudit[]): RawBuilder<unknown> {
  const rows = audits.map((row) => ({
    action: row.action,
    org_id: row.orgId,
    target: row.target,
    outcome: row.outcome,
    request_id: row.requestId,
    data: row.data ?? {},
  }))
  return sql`
    insert into audit (at_ms, actor, action, org_id, target, outcome, request_id, data)
    select ${nowMs}::bigint, ${actor}::text, action, org_id, target, outcome, request_id, data
    from jsonb_to_recordset(${json(rows)}::jsonb) as row(action text, org_id text, target text, outcome text, request_id text, data jsonb)
  `
}

function eventRow(event: NewEvent) {
  return {
    type: event.type,
    org_id: event.orgId ?? null,
    instance_id: event.instanceId ?? null,
    node_id: event.nodeId ?? null,
    data: event.data ?? {},
  }
}
