// Deletions that an agent tells: each becomes one event and one audit row, exactly once, however often it is told. Its key is the
// idempotency key; the agent repeats what is not acknowledged.
import { createHash } from 'node:crypto'
import { ok } from '../../base/result.ts'
import type { Collected } from '../../contracts/garbage.ts'
import { InstanceId, type NodeId } from '../../contracts/ids.ts'
import type { CoreDeps } from './deps.ts'

const GC_ACTOR = 'system:gc'

/** The keys of those that are stored; the others come again. */
export async function recordCollected(
  { store, log }: Pick<CoreDeps, 'store' | 'log'>,
  nodeId: NodeId,
  items: readonly Collected[],
): Promise<readonly string[]> {
  const stored: string[] = []
  for (const item of items) {
    const { key, kind, reason, id, incarnation, runtime, detail, ageMs, bytes, atMs } = item
    const scope = `gc/${nodeId}`
    const requestHash = createHash('sha256').update(`${kind} ${reason} ${id} ${incarnation}`).digest('hex')
    const data = { kind, reason, id, incarnation, runtime, detail, age_ms: ageMs, bytes, at: new Date(atMs).toISOString() }
    const done = await store.mutate(
      {
        actor: GC_ACTOR,
        action: 'collect',
        orgId: null,
        requestId: null,
        target: `${kind} ${id}`,
        idempotency: { scope, key, requestHash },
      },
      async (tx) => {
        const instanceId = InstanceId.safeParse(id)
        const instance = instanceId.success ? await tx.read.getInstance(instanceId.data) : ok(null)
        if (!instance.ok) return instance
        const orgId = instance.value?.orgId ?? null
        tx.emit({ type: 'resource.collected', orgId, instanceId: instanceId.data ?? null, nodeId, data })
        return ok({ status: 200, body: null, ...(orgId && { orgId }), auditData: { ...data, node_id: nodeId } })
      },
    )
    if (done.ok) stored.push(key)
    else if (done.error.code === 'store_unavailable') break
    else {
      log.error('collected resource not stored', { node_id: nodeId, kind, id, error_code: done.error.code, error: done.error.detail })
      // It would be refused for ever.
      stored.push(key)
    }
  }
  return stored
}
