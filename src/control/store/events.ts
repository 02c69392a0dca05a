// Reading the event log and the audit log. Writing them is `tx.emit` and `tx.audit`.
import type { Result } from '../../base/result.ts'
import type { Failure } from '../../contracts/errors.ts'
import type { InstanceId } from '../../contracts/ids.ts'
import type { AuditRecord, EventRecord } from '../model/event.ts'
import type { OrgScope } from '../model/org.ts'
import type { Db, Tx } from './db.ts'
import type { Page } from './instances.ts'

const later = (): never => {
  throw new Error('being written')
}

export interface EventQuery {
  /** Events without an organisation (nodes) are seen by everybody. */
  readonly scope: OrgScope
  readonly after: number
  readonly limit: number
  readonly instanceId?: InstanceId
}

/** Oldest first, after the cursor. Nothing that commits later can have a lower cursor than what was returned. */
export function listEvents(_db: Db, _query: EventQuery): Promise<Result<readonly EventRecord[], Failure>> {
  return later()
}

/** 0 when there is none. */
export function latestCursor(_db: Db): Promise<Result<number, Failure>> {
  return later()
}

/** Newest first. */
export function listAudit(
  _db: Db,
  _query: { readonly scope: OrgScope; readonly limit: number; readonly cursor?: string },
): Promise<Result<Page<AuditRecord>, Failure>> {
  return later()
}

/** Drops events and idempotency keys that are past their retention; the newest event always stays. Returns how many rows. */
export function trimLogs(
  _tx: Tx,
  _given: { readonly eventsBeforeMs: number; readonly keysBeforeMs: number; readonly limit: number },
): Promise<Result<number, Failure>> {
  return later()
}
