// Who calls: bearer token -> SHA-256 -> token row -> role and organisation. Deny by default.
// A found token is remembered for a few seconds, so that a call costs no extra query; a revoked one is forgotten here at once and
// on other replicas after that time. The secret itself is never kept.
import { createHash } from 'node:crypto'
import { err, ok, type Result } from '../../base/result.ts'
import { type Failure, failure } from '../../contracts/errors.ts'
import type { Role } from '../../contracts/routes.ts'
import type { Actor } from '../model/actor.ts'
import type { OrgScope, TokenRecord } from '../model/org.ts'
import { findTokenByHash, touchToken } from '../store/orgs.ts'
import type { ApiDeps } from './deps.ts'

export interface Caller {
  readonly token: TokenRecord
  readonly actor: Actor
  /** What it may see: its own organisation, or everything (null). */
  readonly scope: OrgScope
}

export interface Callers {
  /** The caller of an `Authorization` header. */
  identify(authorization: string | undefined): Promise<Result<Caller, Failure>>
  forget(tokenId: string): void
  /** Calls back once when the token of a long connection stops being valid. The returned function ends the watch. */
  watch(authorization: string | undefined, onRevoked: () => void): () => void
}

export const hashSecret = (secret: string): Buffer => createHash('sha256').update(secret).digest()

const BEARER = /^Bearer +([\x21-\x7e]{1,512}) *$/i

export function createCallers(deps: Pick<ApiDeps, 'store' | 'clock' | 'limits'>): Callers {
  const known = new Map<string, { readonly token: TokenRecord; readonly untilMs: number }>()
  const remember = (key: string, token: TokenRecord) => {
    // Insertion order is age: the oldest goes first.
    if (known.size >= deps.limits.tokenCacheMax) for (const oldest of [...known.keys()].slice(0, 100)) known.delete(oldest)
    known.delete(key)
    known.set(key, { token, untilMs: deps.clock.elapsedMs() + deps.limits.tokenCacheMs })
  }
  const find = async (secret: string): Promise<Result<TokenRecord | null, Failure>> => {
    const hash = hashSecret(secret)
    const key = hash.toString('base64')
    const cached = known.get(key)
    if (cached && cached.untilMs > deps.clock.elapsedMs()) return ok(cached.token)
    const found = await findTokenByHash(deps.store.db, hash)
    if (!found.ok || found.value === null) {
      if (found.ok) known.delete(key)
      return found
    }
    remember(key, found.value)
    // Only a note for people who look for unused tokens: a failure of it fails nothing.
    await touchToken(deps.store.db, found.value.id, deps.clock.wallMs())
    return found
  }
  const identify: Callers['identify'] = async (authorization) => {
    if (authorization === undefined) return err(failure('unauthenticated', 'The request carries no token.'))
    const secret = BEARER.exec(authorization)?.[1]
    if (secret === undefined) return err(failure('unauthenticated', 'The Authorization header is not of the form "Bearer TOKEN".'))
    const token = await find(secret)
    if (!token.ok) return token
    if (token.value === null) return err(failure('unauthenticated', 'The token is not known, or was revoked.'))
    const { name, orgId } = token.value
    // Names are unique within an organisation only: without it one organisation's token could pass for the platform's.
    return ok({ token: token.value, actor: orgId === null ? `token:${name}` : `token:${orgId}/${name}`, scope: orgId })
  }
  return {
    identify,
    forget(tokenId) {
      for (const [key, entry] of known) if (entry.token.id === tokenId) known.delete(key)
    },
    watch(authorization, onRevoked) {
      let cancel = () => {}
      let stopped = false
      const look = async () => {
        const caller = await identify(authorization)
        if (stopped) return
        // A store that is away revokes nothing.
        if (!caller.ok && caller.error.code === 'unauthenticated') onRevoked()
        else again()
      }
      const again = () => {
        cancel = deps.clock.after(deps.limits.recheckCallerMs, () => void look().catch(again))
      }
      again()
      return () => {
        stopped = true
        cancel()
      }
    },
  }
}

const RANK: Readonly<Record<Exclude<Role, 'agent'>, number>> = { viewer: 1, operator: 2 }

/** The refusal, or nothing. An agent's token opens the link and nothing else. */
export function refuseRole(caller: Caller, needed: 'viewer' | 'operator'): Failure | undefined {
  const { role, name } = caller.token
  if (role === 'agent')
    return failure('forbidden', `The token ${name} is for an agent: it opens the agent link and nothing else.`, { role })
  if (RANK[role] < RANK[needed])
    return failure('forbidden', `The token ${name} has the role ${role}; this needs ${needed}.`, { role, needed })
  return undefined
}
