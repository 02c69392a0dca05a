// Wishes on their way to the agents: what the store says has changed, folded into one look, and each connected node told what
// concerns it. What a store that is away held up stays noted.
import { InstanceId, type NodeId } from '../../contracts/ids.ts'
import type { ChangeKey } from '../model/event.ts'
import type { CoreDeps } from './deps.ts'
import type { Session } from './link-session.ts'
import { Outage } from './outage.ts'
import type { ReadOrder } from './wish-order.ts'

/** Wishes read at once; a change of a whole fleet goes in parts. */
const PUSH_MAX = 1000

/** Folds changes into one look at the store, and tells each connected node what concerns it. */
export function createPusher(deps: CoreDeps, sessions: ReadonlyMap<NodeId, Session>, reads: ReadOrder) {
  const dirty = new Set<InstanceId>()
  let all = false
  let cancel: (() => void) | null = null
  const outage = new Outage(deps.log, 'wishes wait for the store')
  let busy = false
  let closed = false
  const schedule = (delayMs: number) => {
    if (!closed && !busy) cancel ??= deps.clock.after(delayMs, () => void flush())
  }
  const flush = async () => {
    cancel = null
    busy = true
    let delayMs = deps.limits.linkPushDelayMs
    try {
      if (!(await pushOnce())) delayMs = deps.limits.linkRetryMs
    } catch (error) {
      deps.log.error('push failed', { error: error instanceof Error ? (error.stack ?? error.message) : String(error) })
    } finally {
      busy = false
      if (dirty.size > 0 || all) schedule(delayMs)
    }
  }
  /** False when the store did not answer: what was to be pushed stays noted. */
  const pushOnce = async (): Promise<boolean> => {
    if (all) {
      all = false
      dirty.clear()
      for (const session of [...sessions.values()]) await session.resync()
      return true
    }
    const ids = [...dirty].slice(0, PUSH_MAX)
    for (const id of ids) dirty.delete(id)
    if (ids.length === 0 || sessions.size === 0) return true
    const readAt = reads.begin()
    const found = await deps.store.read.desiredByIds(ids)
    if (!found.ok) {
      outage.failed(found.error)
      for (const id of ids) dirty.add(id)
      return false
    }
    outage.over()
    for (const [nodeId, items] of Map.groupBy(found.value, (one) => one.nodeId)) {
      if (nodeId !== null)
        sessions.get(nodeId)?.push(
          items.map((one) => one.desired),
          readAt,
        )
    }
    return true
  }
  return {
    note(change: ChangeKey | null) {
      if (change === null) all = true
      else if (change.kind === 'instance') {
        const id = InstanceId.safeParse(change.id)
        if (id.success) dirty.add(id.data)
      }
      if (dirty.size > 0 || all) schedule(deps.limits.linkPushDelayMs)
    },
    close() {
      closed = true
      cancel?.()
    },
  }
}
