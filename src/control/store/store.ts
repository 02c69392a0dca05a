// openStore: the pool, the migrations, transactions, notifications and singleton leases in one object.
import type { Clock, Random } from '../../base/clock.ts'
import type { Logger } from '../../base/log.ts'
import type { Result } from '../../base/result.ts'
import type { Failure } from '../../contracts/errors.ts'
import type { OrgId } from '../../contracts/ids.ts'
import type { Actor } from '../model/actor.ts'
import type { ChangeKey } from '../model/event.ts'
import type { Db, Tx } from './db.ts'

/** Either a connection URL, or where a local server's socket is. */
export type StoreTarget = { readonly url: string } | { readonly host: string; readonly database: string; readonly user: string }

export interface StoreOptions {
  readonly target: StoreTarget
  readonly log: Logger
  readonly clock: Clock
  readonly random: Random
  /** Connections of the pool; two more are used for notifications and for each held lease. */
  readonly connectionsMax?: number
}

export interface Mutation {
  readonly actor: Actor
  /** The route or verb, as it appears in the audit log: `createInstance`, `deploy`, … */
  readonly action: string
  readonly orgId: OrgId | null
  readonly requestId: string | null
  /** What the caller named, for the audit row of a refusal; `MutationReply.target` replaces it on success. */
  readonly target: string
  /** null = no key was given. `scope` separates callers (org + token + route); `requestHash` covers path and body. */
  readonly idempotency: { readonly scope: string; readonly key: string; readonly requestHash: string } | null
}

export interface MutationReply {
  readonly status: number
  readonly body: unknown
  readonly target?: string
  readonly auditData?: Readonly<Record<string, unknown>>
  /** What a replay gets instead of `body`: for answers that hold a secret, which must not be stored. */
  readonly replayBody?: unknown
}

export interface Store {
  readonly db: Db
  /** Identifies this process among the replicas while its notification connection lives; for `openSession`. */
  readonly replica: number
  /**
   * A change asked for by a caller: idempotency key, change, stored reply and audit row in one transaction. Concurrent duplicates
   * wait and get the stored reply. A refusal rolls everything back, is audited, and is not stored under the key.
   * `run` may be called again after a serialization failure, so it must have no effect outside `tx`.
   */
  mutate(
    mutation: Mutation,
    run: (tx: Tx) => Promise<Result<MutationReply, Failure>>,
  ): Promise<Result<{ status: number; body: unknown; replayed: boolean }, Failure>>
  /** A change by one of our own loops; an `err` rolls back. `run` may be called again, as for `mutate`. */
  write<T>(actor: Actor, run: (tx: Tx) => Promise<Result<T, Failure>>): Promise<Result<T, Failure>>
  /** Calls `onChange` for each committed change of any replica, and with null ("look at everything again") after a lost connection. */
  listen(onChange: (change: ChangeKey | null) => void): () => void
  /** Waits until this process holds the named singleton; the epoch rises with every holder. */
  lease(name: string, signal: AbortSignal): Promise<Result<Lease, Failure>>
  /** ok when the database answers; bounded at 2 s. */
  health(): Promise<Result<{ version: string; latencyMs: number }, Failure>>
  close(): Promise<void>
}

export interface Lease {
  readonly epoch: number
  /** Aborted when the lease is lost: the connection died, or the store closes. */
  readonly signal: AbortSignal
  release(): Promise<void>
}

export function openStore(_options: StoreOptions): Promise<Result<Store, Failure>> {
  throw new Error('openStore is being written')
}
