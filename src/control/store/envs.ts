// Apps and their envs.
import type { Result } from '../../base/result.ts'
import type { Failure } from '../../contracts/errors.ts'
import type { AppId, EnvId, OrgId } from '../../contracts/ids.ts'
import type { EnvRecord } from '../model/env.ts'
import type { OrgScope } from '../model/org.ts'
import { attempt, Rollback } from './attempt.ts'
import type { Db, Tx } from './db.ts'
import { MATCHES_SHOWN, noEnv, theEnv } from './find.ts'
import { json } from './json.ts'
import { checkCursor, type Page, type PageQuery, pageOf } from './page.ts'
import { envRecord } from './records.ts'

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
export function putEnv(tx: Tx, given: EnvManifest): Promise<Result<{ env: EnvRecord; changed: boolean }, Failure>> {
  return attempt(async () => {
    // The update that changes nothing locks the row: an env is not added to an app that is being removed.
    const app = await tx.db
      .insertInto('apps')
      .values({ id: given.newAppId, org_id: given.orgId, name: given.app, created_at_ms: tx.nowMs })
      .onConflict((conflict) => conflict.constraint('apps_name').doUpdateSet({ name: given.app }))
      .returning('id')
      .executeTakeFirstOrThrow()
    const wish = { manifest: json(given.manifest), manifest_hash: given.manifestHash, deleting: false, updated_at_ms: tx.nowMs }
    const written = await tx.db
      .insertInto('envs')
      .values({ id: given.newEnvId, org_id: given.orgId, app_id: app.id, name: given.env, ...wish, created_at_ms: tx.nowMs })
      .onConflict((conflict) =>
        conflict
          .constraint('envs_name')
          .doUpdateSet(wish)
          .where((where) => where.or([where('envs.manifest_hash', '<>', given.manifestHash), where('envs.deleting', '=', true)])),
      )
      .returning('id')
      .executeTakeFirst()
    const row = await selectEnvs(tx.db).where('envs.app_id', '=', app.id).where('envs.name', '=', given.env).executeTakeFirstOrThrow()
    const env = envRecord(row)
    if (written) {
      const data = { app: given.app, env: given.env, hash: given.manifestHash, actor: tx.actor }
      tx.emit({ type: 'env.changed', orgId: given.orgId, data: { id: env.id, ...data } })
      tx.changed({ kind: 'env', id: env.id })
    }
    return { env, changed: written !== undefined }
  })
}

function selectEnvs(db: Db) {
  return db.selectFrom('envs').innerJoin('apps', 'apps.id', 'envs.app_id').selectAll('envs').select('apps.name as app')
}

/** By id, `app/env`, else unique env name. Fails with `not_found`, `ambiguous_id`. */
export async function findEnv(db: Db, ref: string, scope: OrgScope): Promise<Result<EnvRecord, Failure>> {
  const found = await attempt(async () => {
    const all = selectEnvs(db).orderBy('envs.id').limit(MATCHES_SHOWN)
    const seen = scope === null ? all : all.where('envs.org_id', '=', scope)
    const [app, env] = ref.split('/', 2)
    if (app !== undefined && env !== undefined)
      return (await seen.where('apps.name', '=', app).where('envs.name', '=', env).execute()).map(envRecord)
    const byId = await seen.where('envs.id', '=', ref).execute()
    return (byId.length > 0 ? byId : await seen.where('envs.name', '=', ref).execute()).map(envRecord)
  })
  return found.ok ? theEnv(ref, found.value) : found
}

/** Ordered by id, which is by age. */
export async function listEnvs(
  db: Db,
  query: PageQuery & { readonly scope: OrgScope; readonly app?: string },
): Promise<Result<Page<EnvRecord>, Failure>> {
  const cursor = checkCursor(query.cursor, /^env_[0-9a-z]{20}$/)
  if (!cursor.ok) return cursor
  return attempt(async () => {
    const rows = await selectEnvs(db)
      .where((where) =>
        where.and([
          ...(query.scope === null ? [] : [where('envs.org_id', '=', query.scope)]),
          ...(query.app === undefined ? [] : [where('apps.name', '=', query.app)]),
          ...(cursor.value === null ? [] : [where('envs.id', '>', cursor.value)]),
        ]),
      )
      .orderBy('envs.id')
      .limit(query.limit + 1)
      .execute()
    return pageOf(rows, query.limit, (row) => row.id, envRecord)
  })
}

/** All of them, for the rollout loop. */
export function allEnvs(db: Db): Promise<Result<readonly EnvRecord[], Failure>> {
  return attempt(async () => (await selectEnvs(db).orderBy('envs.id').execute()).map(envRecord))
}

/** Marks it; the rollout loop deletes its instances and then calls `removeEnv`. */
export function markEnvDeleting(tx: Tx, id: EnvId): Promise<Result<EnvRecord, Failure>> {
  return attempt(async () => {
    const changed = await tx.db
      .updateTable('envs')
      .set({ deleting: true, updated_at_ms: tx.nowMs })
      .where('id', '=', id)
      .where('deleting', '=', false)
      .returning('id')
      .executeTakeFirst()
    const row = await selectEnvs(tx.db).where('envs.id', '=', id).executeTakeFirst()
    if (!row) throw new Rollback(noEnv(id))
    if (changed) tx.changed({ kind: 'env', id })
    return envRecord(row)
  })
}

/** Removes an env that is marked and has no live instance left, and its app when that was the last env. False otherwise. */
export function removeEnv(tx: Tx, id: EnvId): Promise<Result<boolean, Failure>> {
  return attempt(async () => {
    const found = await selectEnvs(tx.db).where('envs.id', '=', id).executeTakeFirst()
    if (!found) return false
    // The app first, as in putEnv: both lock in the same order.
    await tx.db.selectFrom('apps').select('id').where('id', '=', found.app_id).forUpdate().execute()
    const row = await tx.db
      .deleteFrom('envs')
      .where('id', '=', id)
      .where('deleting', '=', true)
      .where(({ not, exists, selectFrom }) =>
        not(exists(selectFrom('instances').select('instances.id').where('env_id', '=', id).where('deleted_at_ms', 'is', null))),
      )
      .returning(['id', 'app_id'])
      .executeTakeFirst()
    if (!row) return false
    await tx.db
      .deleteFrom('apps')
      .where('id', '=', row.app_id)
      .where(({ not, exists, selectFrom }) => not(exists(selectFrom('envs').select('envs.id').where('app_id', '=', row.app_id))))
      .execute()
    const env = envRecord(found)
    tx.emit({ type: 'env.deleted', orgId: env.orgId, data: { id, app: env.app, env: env.env } })
    tx.changed({ kind: 'env', id })
    return true
  })
}
