// A mutation asked for by a caller: idempotency key, change, stored reply and audit row in one transaction.
//
// The key's row is inserted first. A concurrent duplicate waits in that insert until the first one commits (then it finds the
// reply) or rolls back (then it runs itself). A refusal is rolled back with its key: it may be different the next time.
import type { Clock } from '../../base/clock.ts'
import { err, ok, type Result } from '../../base/result.ts'
import { type Failure, failure } from '../../contracts/errors.ts'
import type { OrgId } from '../../contracts/ids.ts'
import type { Actor } from '../model/actor.ts'
import { attempt } from './attempt.ts'
import type { Db, Tx } from './db.ts'
import { json } from './json.ts'
import { write } from './transaction.ts'

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
  /** The organisation of the target, when it is not the mutation's. */
  readonly orgId?: OrgId
  readonly auditData?: Readonly<Record<string, unknown>>
  /** What a replay gets instead of `body`: for answers that hold a secret, which must not be stored. */
  readonly replayBody?: unknown
}

export interface Reply {
  readonly status: number
  readonly body: unknown
  readonly replayed: boolean
}

export interface MutateDeps {
  readonly db: Db
  readonly clock: Clock
  /** How long a key is answered with what its first use was answered. */
  readonly keysKeptMs: number
}

export async function mutate(
  deps: MutateDeps,
  mutation: Mutation,
  run: (tx: Tx) => Promise<Result<MutationReply, Failure>>,
): Promise<Result<Reply, Failure>> {
  const outcome = await write(deps, mutation.actor, async (tx): Promise<Result<Reply, Failure>> => {
    const known = await claimKey(tx, mutation, deps.keysKeptMs)
    if (!known.ok) return known
    if (known.value !== null) return ok(known.value)
    const done = await run(tx)
    if (!done.ok) return done
    const { status, body, target = mutation.target, orgId = mutation.orgId, auditData } = done.value
    const kept = 'replayBody' in done.value ? done.value.replayBody : body
    const stored = await keepReply(tx, mutation, status, kept)
    if (!stored.ok) return stored
    tx.audit({ ...auditOf(mutation), orgId, target, outcome: 'accepted', ...(auditData && { data: auditData }) })
    return ok({ status, body, replayed: false })
  })
  if (!outcome.ok && AUDITED(outcome.error)) {
    // Best effort: the refusal itself is what the caller has to hear.
    const { code, detail } = outcome.error
    await write(deps, mutation.actor, async (tx) => {
      tx.audit({ ...auditOf(mutation), orgId: mutation.orgId, target: mutation.target, outcome: 'refused', data: { code, detail } })
      return ok(undefined)
    })
  }
  return outcome
}

/** Without a database there is nowhere to write it, and nothing was decided. */
const AUDITED = (given: Failure) => given.code !== 'store_unavailable' && given.code !== 'shutting_down'

function auditOf(mutation: Mutation) {
  return { action: mutation.action, requestId: mutation.requestId }
}

/** null = the key is ours now (or there is none): run. */
async function claimKey(tx: Tx, mutation: Mutation, keysKeptMs: number): Promise<Result<Reply | null, Failure>> {
  const given = mutation.idempotency
  if (given === null) return ok(null)
  const row = { scope: given.scope, key: given.key, request_hash: given.requestHash, status: null, body: null, created_at_ms: tx.nowMs }
  const taken = await attempt(() =>
    tx.db
      .insertInto('idempotency')
      .values(row)
      // A key past its retention is as good as none. A live one makes this a no-op, after its transaction has ended.
      .onConflict((conflict) =>
        conflict
          .columns(['scope', 'key'])
          .doUpdateSet(row)
          .where('idempotency.created_at_ms', '<', tx.nowMs - keysKeptMs),
      )
      .returning('key')
      .executeTakeFirst(),
  )
  if (!taken.ok) return taken
  if (taken.value) return ok(null)
  const found = await attempt(() =>
    tx.db
      .selectFrom('idempotency')
      .select(['request_hash', 'status', 'body'])
      .where('scope', '=', given.scope)
      .where('key', '=', given.key)
      .executeTakeFirst(),
  )
  if (!found.ok) return found
  const known = found.value
  if (known && known.request_hash !== given.requestHash)
    return err(failure('idempotency_conflict', 'The key was used before with another path or body.', { field: 'Idempotency-Key' }))
  // No row: it was trimmed between the two statements. No status cannot be seen, for it is written in the same transaction.
  if (!known || known.status === null) return err(failure('store_unavailable', 'The stored answer has just expired; try again.'))
  return ok({ status: known.status, body: known.body, replayed: true })
}

function keepReply(tx: Tx, mutation: Mutation, status: number, body: unknown): Promise<Result<void, Failure>> {
  return attempt(async () => {
    const given = mutation.idempotency
    if (given === null) return
    await tx.db
      .updateTable('idempotency')
      .set({ status, body: typeof body === 'object' && body !== null ? json(body) : JSON.stringify(body ?? null) })
      .where('scope', '=', given.scope)
      .where('key', '=', given.key)
      .execute()
  })
}
