// Organisations and the tokens that act in them.
import type { OrgId, TokenId } from '../../contracts/ids.ts'
import type { Role } from '../../contracts/routes.ts'

export interface OrgRecord {
  readonly id: OrgId
  readonly name: string
  readonly createdAtMs: number
}

/** Never holds the secret: only its SHA-256 is stored, and that stays in the store. */
export interface TokenRecord {
  readonly id: TokenId
  readonly name: string
  /** null = every organisation. */
  readonly orgId: OrgId | null
  readonly role: Role
  readonly createdAtMs: number
  readonly lastUsedAtMs: number | null
}

/** Which organisations a caller may see: one, or all of them (null). Another organisation's objects do not exist. */
export type OrgScope = OrgId | null
