// Stale failed instances: found page by page, and collected one at a time, each decided again under its row lock.
import { ok, type Result } from '../../base/result.ts'
import type { Failure } from '../../contracts/errors.ts'
import type { GarbageItem } from '../../contracts/garbage.ts'
import type { InstanceRecord } from '../model/instance.ts'
import { staleSinceMs } from '../model/stale.ts'
import type { StoreReads, StoreWrites } from './access.ts'

export interface Stale {
  readonly instance: InstanceRecord
  readonly sinceMs: number
}

const PAGE = 200

/** Longest failed first. */
export async function listStale(read: StoreReads): Promise<Result<readonly Stale[], Failure>> {
  const found: Stale[] = []
  for (let cursor: string | undefined; ; ) {
    const page = await read.listInstances({ scope: null, state: 'failed', limit: PAGE, ...(cursor !== undefined && { cursor }) })
    if (!page.ok) return page
    const heals = await read.getHeals(page.value.items.map((one) => one.id))
    if (!heals.ok) return heals
    for (const instance of page.value.items) {
      const sinceMs = staleSinceMs(instance, heals.value.get(instance.id) ?? null)
      if (sinceMs !== null) found.push({ instance, sinceMs })
    }
    if (page.value.nextCursor === null) return ok(found.toSorted((a, b) => a.sinceMs - b.sinceMs))
    cursor = page.value.nextCursor
  }
}

export const staleItem = ({ instance, sinceMs }: Stale, nowMs: number): GarbageItem => ({
  kind: 'instance',
  reason: 'stale_failed',
  id: instance.id,
  incarnation: null,
  runtime: instance.runtime,
  detail: `${instance.name} failed, was given up, and nobody has looked after it since.`,
  ageMs: Math.max(0, nowMs - sinceMs),
  bytes: null,
})

/** Wishes it deleted, unless it is not stale any more or not for so long; then null. */
export async function collectStale(
  tx: StoreWrites,
  id: InstanceRecord['id'],
  failedAfterMs: number,
): Promise<Result<GarbageItem | null, Failure>> {
  const heal = await tx.read.getHeal(id)
  if (!heal.ok) return heal
  const found: Stale[] = []
  const done = await tx.changeDesired(id, (now) => {
    const sinceMs = staleSinceMs(now, heal.value)
    if (sinceMs === null || tx.nowMs - sinceMs < failedAfterMs) return ok(null)
    found.push({ instance: now, sinceMs })
    return ok({ verb: 'collect', want: 'deleted' })
  })
  if (!done.ok) return done.error.code === 'not_found' ? ok(null) : done
  const stale = found.at(-1)
  if (!stale) return ok(null)
  const item = staleItem(stale, tx.nowMs)
  const { orgId, nodeId } = done.value
  const { ageMs, ...words } = item
  const data = { ...words, age_ms: ageMs, at: new Date(tx.nowMs).toISOString() }
  tx.emit({ type: 'resource.collected', orgId, instanceId: id, nodeId, data })
  tx.audit({ action: 'collect', requestId: null, orgId, target: `instance ${id}`, outcome: 'accepted', data })
  return ok(item)
}
