// Organisations and tokens.
import { sql } from 'kysely'
import { err, OK, ok, type Result } from '../../base/result.ts'
import { type Failure, failure } from '../../contracts/errors.ts'
import type { OrgId, TokenId } from '../../contracts/ids.ts'
import type { Role } from '../../contracts/routes.ts'
import type { OrgRecord, OrgScope, TokenRecord } from '../model/org.ts'
import { attempt, uniqueViolation } from './attempt.ts'
import type { Db, Tx } from './db.ts'
import { checkCursor, type Page, type PageQuery, pageOf } from './page.ts'
import { orgRecord, tokenRecord } from './records.ts'

export const DEFAULT_ORG = 'default'
const TOKEN_COLUMNS = ['id', 'name', 'org_id', 'role', 'created_at_ms', 'last_used_at_ms'] as const
const TOUCH_INTERVAL_MS = 60_000

export interface NewOrg {
  readonly id: OrgId
  readonly name: string
}

/** Fails with `name_taken`. */
export async function createOrg(tx: Tx, org: NewOrg): Promise<Result<OrgRecord, Failure>> {
  try {
    return await attempt(async () => {
      const row = await tx.db
        .insertInto('orgs')
        .values({ id: org.id, name: org.name, created_at_ms: tx.nowMs })
        .returningAll()
        .executeTakeFirstOrThrow()
      tx.emit({ type: 'org.created', orgId: org.id, data: { name: org.name, actor: tx.actor } })
      return orgRecord(row)
    })
  } catch (error) {
    if (uniqueViolation(error) === 'orgs_name_key')
      return err(failure('name_taken', `An organisation named ${org.name} exists.`, { field: 'name', name: org.name }))
    throw error
  }
}

/** By id or name. Fails with `not_found`. */
export async function findOrg(db: Db, ref: string, scope: OrgScope): Promise<Result<OrgRecord, Failure>> {
  const found = await attempt(async () => {
    const named = db
      .selectFrom('orgs')
      .selectAll()
      .where((where) => where.or([where('id', '=', ref), where('name', '=', ref)]))
    // A name that looks like another one's id must not hide it.
    const row = await (scope === null ? named : named.where('id', '=', scope)).orderBy(sql`id = ${ref}`, 'desc').executeTakeFirst()
    return row ? orgRecord(row) : null
  })
  if (!found.ok) return found
  return found.value ? ok(found.value) : err(failure('not_found', `No organisation ${ref}.`, { kind: 'org', ref }))
}

/** Ordered by id, which is by age. */
export async function listOrgs(db: Db, query: PageQuery & { readonly scope: OrgScope }): Promise<Result<Page<OrgRecord>, Failure>> {
  const cursor = checkCursor(query.cursor, /^org_[0-9a-z]{20}$/)
  if (!cursor.ok) return cursor
  return attempt(async () => {
    const rows = await db
      .selectFrom('orgs')
      .selectAll()
      .where((where) =>
        where.and([
          ...(query.scope === null ? [] : [where('id', '=', query.scope)]),
          ...(cursor.value === null ? [] : [where('id', '>', cursor.value)]),
        ]),
      )
      .orderBy('id')
      .limit(query.limit + 1)
      .execute()
    return pageOf(rows, query.limit, (row) => row.id, orgRecord)
  })
}

export interface NewToken {
  readonly id: TokenId
  readonly name: string
  readonly orgId: OrgId | null
  readonly role: Role
  /** SHA-256 of the secret, 32 bytes. */
  readonly hash: Buffer
}

/** Fails with `name_taken`. */
export async function createToken(tx: Tx, token: NewToken): Promise<Result<TokenRecord, Failure>> {
  try {
    return await attempt(async () => {
      const row = await tx.db.insertInto('tokens').values(tokenRow(token, tx.nowMs)).returning(TOKEN_COLUMNS).executeTakeFirstOrThrow()
      tx.emit({ type: 'token.created', orgId: token.orgId, data: { id: token.id, name: token.name, role: token.role, actor: tx.actor } })
      return tokenRecord(row)
    })
  } catch (error) {
    if (uniqueViolation(error) === 'tokens_name')
      return err(failure('name_taken', `A token named ${token.name} exists.`, { field: 'name', name: token.name }))
    throw error
  }
}

function tokenRow(token: NewToken, nowMs: number) {
  return {
    id: token.id,
    name: token.name,
    org_id: token.orgId,
    role: token.role,
    hash: token.hash,
    created_at_ms: nowMs,
    last_used_at_ms: null,
  }
}

/** Ordered by id, which is by age. */
export async function listTokens(db: Db, query: PageQuery & { readonly scope: OrgScope }): Promise<Result<Page<TokenRecord>, Failure>> {
  const cursor = checkCursor(query.cursor, /^tok_[0-9a-z]{20}$/)
  if (!cursor.ok) return cursor
  return attempt(async () => {
    const rows = await db
      .selectFrom('tokens')
      .select(TOKEN_COLUMNS)
      .where((where) =>
        where.and([
          ...(query.scope === null ? [] : [where('org_id', '=', query.scope)]),
          ...(cursor.value === null ? [] : [where('id', '>', cursor.value)]),
        ]),
      )
      .orderBy('id')
      .limit(query.limit + 1)
      .execute()
    return pageOf(rows, query.limit, (row) => row.id, tokenRecord)
  })
}

export interface Revocation {
  /** The token that asks for it; null = none does. */
  readonly ownId: TokenId | null
  /** Also when it locks somebody out. */
  readonly force: boolean
}

/** By id, else unique name; it stops working at once. Fails with `not_found`, `ambiguous_id`, `lockout`. */
export async function revokeToken(tx: Tx, ref: string, scope: OrgScope, given: Revocation): Promise<Result<TokenRecord, Failure>> {
  const found = await attempt(async () => {
    const all = tx.db.selectFrom('tokens').select(TOKEN_COLUMNS)
    const seen = scope === null ? all : all.where('org_id', '=', scope)
    const byId = await seen.where('id', '=', ref).execute()
    return byId.length > 0 ? byId : await seen.where('name', '=', ref).limit(2).execute()
  })
  if (!found.ok) return found
  const [first, second] = found.value
  if (!first) return err(failure('not_found', `No token ${ref}.`, { kind: 'token', ref }))
  if (second) return err(failure('ambiguous_id', `More than one organisation has a token named ${ref}; give its id.`, { ref }))
  const token = tokenRecord(first)
  const safe = given.force ? OK : await refuseLockout(tx, token, given.ownId)
  if (!safe.ok) return safe
  const gone = await attempt(() => tx.db.deleteFrom('tokens').where('id', '=', token.id).executeTakeFirst())
  if (!gone.ok) return gone
  tx.emit({ type: 'token.revoked', orgId: token.orgId, data: { id: token.id, name: token.name, actor: tx.actor } })
  return ok(token)
}

/** The rows stay locked until the end of the change: of two operators who revoke each other at once, the second finds itself the last. */
async function refuseLockout(tx: Tx, token: TokenRecord, ownId: TokenId | null): Promise<Result<void, Failure>> {
  const operators = await attempt(() =>
    tx.db.selectFrom('tokens').select('id').where('role', '=', 'operator').where('org_id', 'is', null).orderBy('id').forUpdate().execute(),
  )
  if (!operators.ok) return operators
  const own = token.id === ownId
  const last = operators.value.length === 1 && operators.value[0]?.id === token.id
  if (!own && !last) return OK
  const what = [own ? 'the token in use' : '', last ? 'the last operator token of the platform' : ''].filter(Boolean).join(' and ')
  return err(failure('lockout', `${token.name} is ${what}.`, { id: token.id, name: token.name, own, last }))
}

/** null when no token has this hash. */
export function findTokenByHash(db: Db, hash: Buffer): Promise<Result<TokenRecord | null, Failure>> {
  return attempt(async () => {
    const row = await db.selectFrom('tokens').select(TOKEN_COLUMNS).where('hash', '=', hash).executeTakeFirst()
    return row ? tokenRecord(row) : null
  })
}

/** Notes the use, at most once a minute per token. */
export function touchToken(db: Db, id: TokenId, nowMs: number): Promise<Result<void, Failure>> {
  return attempt(async () => {
    await db
      .updateTable('tokens')
      .set({ last_used_at_ms: nowMs })
      .where('id', '=', id)
      .where((where) => where.or([where('last_used_at_ms', 'is', null), where('last_used_at_ms', '<', nowMs - TOUCH_INTERVAL_MS)]))
      .execute()
  })
}

/**
 * Makes sure that the default organisation exists and that the named tokens have exactly these hashes (a platform-wide operator,
 * the local agent). Safe to repeat, and at once from several replicas.
 */
export function bootstrap(
  tx: Tx,
  given: { readonly orgId: OrgId; readonly tokens: readonly NewToken[] },
): Promise<Result<OrgRecord, Failure>> {
  return attempt(async () => {
    const made = await tx.db
      .insertInto('orgs')
      .values({ id: given.orgId, name: DEFAULT_ORG, created_at_ms: tx.nowMs })
      .onConflict((conflict) => conflict.column('name').doNothing())
      .returningAll()
      .executeTakeFirst()
    if (made) tx.emit({ type: 'org.created', orgId: given.orgId, data: { name: DEFAULT_ORG, actor: tx.actor } })
    const org = made ?? (await tx.db.selectFrom('orgs').selectAll().where('name', '=', DEFAULT_ORG).executeTakeFirstOrThrow())
    for (const token of given.tokens) {
      const changed = await tx.db
        .insertInto('tokens')
        .values(tokenRow(token, tx.nowMs))
        .onConflict((conflict) =>
          conflict
            .expression(sql`(coalesce(org_id, '')), name`)
            .doUpdateSet({ hash: token.hash, role: token.role })
            .where((where) => where.or([where('tokens.hash', '<>', token.hash), where('tokens.role', '<>', token.role)])),
        )
        .returning('id')
        .executeTakeFirst()
      if (changed)
        tx.emit({
          type: 'token.created',
          orgId: token.orgId,
          data: { id: changed.id, name: token.name, role: token.role, actor: tx.actor },
        })
    }
    return orgRecord(org)
  })
}
