// Envs, leases, idempotency keys and the logs, in memory.
import { err, OK, ok } from '../../src/base/result.ts'
import type { EnvRecord } from '../../src/control/model/env.ts'
import type { NewAudit, NewEvent } from '../../src/control/model/event.ts'
import type { StoreWrites } from '../../src/control/store/access.ts'
import { noEnv } from '../../src/control/store/find.ts'
import { storable } from '../../src/control/store/json.ts'
import { leaseLost } from '../../src/control/store/lease-lost.ts'
import type { Keys } from '../../src/control/store/mutation.ts'
import type { Draft } from './memory-writes.ts'

export function envWrites(draft: Draft): Pick<StoreWrites, 'putEnv' | 'markEnvDeleting' | 'removeEnv'> {
  const { rows, nowMs, actor } = draft
  return {
    async putEnv(given) {
      const { orgId, app: name, manifest, manifestHash } = given
      const app = rows.apps.all().find((one) => one.orgId === orgId && one.name === name) ?? { id: given.newAppId, orgId, name }
      rows.apps.put(app.id, app)
      const known = rows.envs.all().find((one) => one.appId === app.id && one.env === given.env)
      if (known && known.manifestHash === manifestHash && !known.deleting) return ok({ env: known, changed: false })
      const env: EnvRecord = {
        id: known?.id ?? given.newEnvId,
        orgId,
        appId: app.id,
        app: name,
        env: given.env,
        manifest: storable(manifest),
        manifestHash,
        deleting: false,
        createdAtMs: known?.createdAtMs ?? nowMs,
        updatedAtMs: nowMs,
      }
      rows.envs.put(env.id, env)
      draft.emit({ type: 'env.changed', orgId, data: { id: env.id, app: name, env: given.env, hash: manifestHash, actor } })
      draft.changed({ kind: 'env', id: env.id })
      return ok({ env, changed: true })
    },
    async markEnvDeleting(id) {
      const now = rows.envs.get(id)
      if (!now) return err(noEnv(id))
      if (now.deleting) return ok(now)
      const after = { ...now, deleting: true, updatedAtMs: nowMs }
      rows.envs.put(id, after)
      draft.changed({ kind: 'env', id })
      return ok(after)
    },
    async removeEnv(id) {
      const env = rows.envs.get(id)
      const used = rows.instances.all().some(({ record }) => record.deletedAtMs === null && record.membership?.envId === id)
      if (!env?.deleting || used) return ok(false)
      rows.envs.drop(id)
      if (!rows.envs.all().some((one) => one.appId === env.appId)) rows.apps.drop(env.appId)
      draft.emit({ type: 'env.deleted', orgId: env.orgId, data: { id, app: env.app, env: env.env } })
      draft.changed({ kind: 'env', id })
      return ok(true)
    },
  }
}

export function logWrites({ rows }: Draft): Pick<StoreWrites, 'trimLogs' | 'checkLease'> {
  return {
    async trimLogs({ eventsBeforeMs, keysBeforeMs, limit }) {
      // The newest one carries the order on: the next cursor is one more than it.
      const events = rows.events
        .all()
        .slice(0, -1)
        .filter((event) => event.atMs < eventsBeforeMs)
        .slice(0, limit)
      const keys = rows.keys
        .all()
        .filter((key) => key.createdAtMs < keysBeforeMs)
        .slice(0, limit)
      for (const { cursor } of events) rows.events.drop(cursor)
      for (const { name } of keys) rows.keys.drop(name)
      return ok(events.length + keys.length)
    },
    async checkLease(lease) {
      return rows.singletons.get(lease.name) === lease.epoch ? OK : err(leaseLost(lease))
    },
  }
}

/** What was said is written down at the very end. */
export function writeLogs({ rows, nowMs, actor }: Draft, events: readonly NewEvent[], audits: readonly NewAudit[]): void {
  let cursor = rows.events.last()?.cursor ?? 0
  for (const { type, orgId = null, instanceId = null, nodeId = null, data = {} } of events) {
    cursor += 1
    rows.events.put(cursor, { cursor, atMs: nowMs, type, orgId, instanceId, nodeId, data: storable(data) })
  }
  let number = rows.audits.last()?.cursor ?? 0
  for (const row of audits) {
    number += 1
    rows.audits.put(number, { ...row, cursor: number, atMs: nowMs, actor, data: storable(row.data ?? {}) })
  }
}

const nameOf = (key: { readonly scope: string; readonly key: string }) => JSON.stringify([key.scope, key.key])

export const memoryKeys = (keysKeptMs: number): Keys<Pick<Draft, 'rows' | 'nowMs'>> => ({
  async claim({ rows, nowMs }, key) {
    const name = nameOf(key)
    const known = rows.keys.get(name)
    if (known && known.createdAtMs >= nowMs - keysKeptMs) return ok(known)
    rows.keys.put(name, { name, requestHash: key.requestHash, status: null, body: null, createdAtMs: nowMs })
    return ok(null)
  },
  async keep({ rows }, key, status, body) {
    const known = rows.keys.get(nameOf(key))
    if (known) rows.keys.put(known.name, { ...known, status, body: JSON.parse(JSON.stringify(body ?? null)) })
    return OK
  },
})
