// Apps and their envs.
import type { Result } from '../../base/result.ts'
import type { Failure } from '../../contracts/errors.ts'
import type { AppId, EnvId, OrgId } from '../../contracts/ids.ts'
import type { EnvRecord } from '../model/env.ts'
import type { OrgScope } from '../model/org.ts'
import type { Db, Tx } from './db.ts'
import type { Page } from './instances.ts'

const later = (): never => {
  throw new Error('being written')
}

export interface EnvManifest {
  readonly orgId: OrgId
  readonly app: string
  readonly env: string
  readonly manifest: Readonly<Record<string, unknown>>
  readonly manifestHash: string
  /** Used when the app or the env does not exist yet. */
  readonly newAppId: AppId
  readonly newEnvId: EnvId
}

/** Creates app and env, or moves the env to this manifest. `changed` is false when the hash is the same and it was not being deleted. */
export function putEnv(_tx: Tx, _given: EnvManifest): Promise<Result<{ env: EnvRecord; changed: boolean }, Failure>> {
  return later()
}

/** By id, `app/env`, or unique env name. Fails with `not_found`, `ambiguous_id`. */
export function findEnv(_db: Db, _ref: string, _scope: OrgScope): Promise<Result<EnvRecord, Failure>> {
  return later()
}

export function listEnvs(
  _db: Db,
  _query: { readonly scope: OrgScope; readonly app?: string; readonly limit: number; readonly cursor?: string },
): Promise<Result<Page<EnvRecord>, Failure>> {
  return later()
}

/** All of them, for the rollout loop. */
export function allEnvs(_db: Db): Promise<Result<readonly EnvRecord[], Failure>> {
  return later()
}

/** Marks it; the rollout loop deletes its instances and then calls `removeEnv`. */
export function markEnvDeleting(_tx: Tx, _id: EnvId): Promise<Result<EnvRecord, Failure>> {
  return later()
}

/** Removes an env that has no live instance left, and its app when that was the last env. False while instances remain. */
export function removeEnv(_tx: Tx, _id: EnvId): Promise<Result<boolean, Failure>> {
  return later()
}
