// Db is what every query function takes: the pool, or one transaction. Tx is a write in progress.
import type { Kysely } from 'kysely'
import type { Actor } from '../model/actor.ts'
import type { ChangeKey, NewAudit, NewEvent } from '../model/event.ts'
import type { Schema } from './schema.ts'

export type Db = Kysely<Schema>

/** What every write has, whatever the store. What `emit`, `audit` and `changed` are given is written at the very end. */
export interface WriteInProgress {
  /** The time of this write. */
  readonly nowMs: number
  readonly actor: Actor
  emit(event: NewEvent): void
  audit(row: NewAudit): void
  /** Tell all replicas to look again, once this is committed. */
  changed(change: ChangeKey): void
}

/** One transaction of PostgreSQL. Functions that write take a Tx, functions that read take a Db (`tx.db` is one). */
export interface Tx extends WriteInProgress {
  readonly db: Db
}
