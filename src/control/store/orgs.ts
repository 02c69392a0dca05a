// Organisations and tokens.
import type { Result } from '../../base/result.ts'
import type { Failure } from '../../contracts/errors.ts'
import type { OrgId, TokenId } from '../../contracts/ids.ts'
import type { Role } from '../../contracts/routes.ts'
import type { OrgRecord, OrgScope, TokenRecord } from '../model/org.ts'
import type { Db, Tx } from './db.ts'
import type { Page } from './instances.ts'

const later = (): never => {
  throw new Error('being written')
}

export const DEFAULT_ORG = 'default'

/** Fails with `name_taken`. */
export function createOrg(_tx: Tx, _org: { readonly id: OrgId; readonly name: string }): Promise<Result<OrgRecord, Failure>> {
  return later()
}

/** By id or name. Fails with `not_found`. */
export function findOrg(_db: Db, _ref: string, _scope: OrgScope): Promise<Result<OrgRecord, Failure>> {
  return later()
}

export function listOrgs(
  _db: Db,
  _query: { readonly scope: OrgScope; readonly limit: number; readonly cursor?: string },
): Promise<Result<Page<OrgRecord>, Failure>> {
  return later()
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
export function createToken(_tx: Tx, _token: NewToken): Promise<Result<TokenRecord, Failure>> {
  return later()
}

export function listTokens(
  _db: Db,
  _query: { readonly scope: OrgScope; readonly limit: number; readonly cursor?: string },
): Promise<Result<Page<TokenRecord>, Failure>> {
  return later()
}

/** By id or unique name; it stops working at once. Fails with `not_found`. */
export function revokeToken(_tx: Tx, _ref: string, _scope: OrgScope): Promise<Result<TokenRecord, Failure>> {
  return later()
}

/** null when no token has this hash. */
export function findTokenByHash(_db: Db, _hash: Buffer): Promise<Result<TokenRecord | null, Failure>> {
  return later()
}

/** Notes the use, at most once a minute per token. */
export function touchToken(_db: Db, _id: TokenId, _nowMs: number): Promise<Result<void, Failure>> {
  return later()
}

/**
 * Makes sure that the default organisation exists and that the named tokens have exactly these hashes (a platform-wide operator,
 * the local agent). Safe to repeat, and at once from several replicas.
 */
export function bootstrap(
  _tx: Tx,
  _given: { readonly orgId: OrgId; readonly tokens: readonly NewToken[] },
): Promise<Result<OrgRecord, Failure>> {
  return later()
}
