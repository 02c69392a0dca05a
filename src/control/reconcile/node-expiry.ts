// Which nodes have been silent for too long. A node counts as silent while the time of its last message stays the same, measured on
// our own monotonic clock from when we first saw that value: a jump of the wall clock expires nobody, and after an outage of
// the control plane every agent has the full time to come back. Expiry never touches what is desired.
import type { NodeId } from '../../contracts/ids.ts'
import type { NodeRecord } from '../model/node.ts'

export interface Watched {
  readonly lastSeenAtMs: number
  /** On the monotonic clock: when this value was first seen. */
  readonly sinceElapsedMs: number
}
export type Watch = ReadonlyMap<NodeId, Watched>

export interface Expiry {
  readonly watch: Watch
  /** Silent for at least the limit, oldest id first. They stay in here until they speak. */
  readonly expired: readonly NodeRecord[]
  /** When the next node could expire, from now; null when none can. */
  readonly nextLookMs: number | null
}

export function expireNodes(before: Watch, nodes: readonly NodeRecord[], elapsedMs: number, silentMsMax: number): Expiry {
  const watch = new Map<NodeId, Watched>()
  const expired: NodeRecord[] = []
  let nextLookMs: number | null = null
  for (const node of [...nodes].sort((a, b) => (a.id < b.id ? -1 : 1))) {
    const known = before.get(node.id)
    const watched = known?.lastSeenAtMs === node.lastSeenAtMs ? known : { lastSeenAtMs: node.lastSeenAtMs, sinceElapsedMs: elapsedMs }
    watch.set(node.id, watched)
    const leftMs = watched.sinceElapsedMs + silentMsMax - elapsedMs
    if (leftMs <= 0) expired.push(node)
    else nextLookMs = Math.min(nextLookMs ?? leftMs, leftMs)
  }
  return { watch, expired, nextLookMs }
}
