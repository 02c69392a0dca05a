// A mutation asked for by a caller: idempotency key, change, stored reply and audit row in one transaction. This is its course; where
// keys and replies are kept is the store's.
//
// The key's row is claimed first. A concurrent duplicate waits in that claim until the first one commits (then it finds the reply) or
// rolls back (then it runs itself). A refusal is rolled back with its key: it may be different the next time.
import { err, ok, type Result } from '../../base/result.ts'
import { type Failure, failure } from '../../contracts/errors.ts'
import type { OrgId } from '../../contracts/ids.ts'
import type { Actor } from '../model/actor.ts'
import type { WriteInProgress } from './db.ts'

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

type Key = NonNullable<Mutation['idempotency']>

/** What is kept under a key. Without a status its mutation has not ended. */
export interface KnownKey {
  readonly requestHash: string
  readonly status: number | null
  readonly body: unknown
}

export interface Keys<Tx> {
  /** null = the key is ours now; undefined = it has just gone. */
  claim(tx: Tx, key: Key): Promise<Result<KnownKey | null | undefined, Failure>>
  /** `body` is JSON; what `claim` finds of it is the same to the byte when both are written out. */
  keep(tx: Tx, key: Key, status: number, body: unknown): Promise<Result<void, Failure>>
}

type Write<Tx> = <T>(actor: Actor, run: (tx: Tx) => Promise<Result<T, Failure>>) => Promise<Result<T, Failure>>

export async function runMutation<Tx extends WriteInProgress>(
  write: Write<Tx>,
  keys: Keys<Tx>,
  mutation: Mutation,
  run: (tx: Tx) => Promise<Result<MutationReply, Failure>>,
): Promise<Result<Reply, Failure>> {
  const { action, requestId, idempotency: key } = mutation
  const outcome = await write(mutation.actor, async (tx): Promise<Result<Reply, Failure>> => {
    const known = key === null ? ok(null) : await claimed(tx, keys, key)
    if (!known.ok) return known
    if (known.value !== null) return ok(known.value)
    const done = await run(tx)
    if (!done.ok) return done
    const { status, body, target = mutation.target, orgId = mutation.orgId, auditData } = done.value
    const kept = 'replayBody' in done.value ? done.value.replayBody : body
    const stored = key === null ? ok(undefined) : await keys.keep(tx, key, status, kept)
    if (!stored.ok) return stored
    tx.audit({ action, requestId, orgId, target, outcome: 'accepted', ...(auditData && { data: auditData }) })
    return ok({ status, body, replayed: false })
  })
  if (!outcome.ok && AUDITED(outcome.error)) {
    // Best effort: the refusal itself is what the caller has to hear.
    const { code, detail } = outcome.error
    await write(mutation.actor, async (tx) => {
      tx.audit({ action, requestId, orgId: mutation.orgId, target: mutation.target, outcome: 'refused', data: { code, detail } })
      return ok(undefined)
    })
  }
  return outcome
}

/** Without a database there is nowhere to write it, and nothing was decided. */
const AUDITED = (given: Failure) => given.code !== 'store_unavailable' && given.code !== 'shutting_down'

/** null = run. */
async function claimed<Tx>(tx: Tx, keys: Keys<Tx>, key: Key): Promise<Result<Reply | null, Failure>> {
  const found = await keys.claim(tx, key)
  if (!found.ok) return found
  if (found.value === null) return ok(null)
  const known = found.value
  if (known && known.requestHash !== key.requestHash)
    return err(failure('idempotency_conflict', 'The key was used before with another path or body.', { field: 'Idempotency-Key' }))
  // No row: it was trimmed between the two statements. No status cannot be seen, for it is written in the same transaction.
  if (!known || known.status === null) return err(failure('store_unavailable', 'The stored answer has just expired; try again.'))
  return ok({ status: known.status, body: known.body, replayed: true })
}
