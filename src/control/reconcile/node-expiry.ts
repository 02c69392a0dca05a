// Which nodes have been silent for too long. A node counts as silent while the time of its last message stays the same, measured on
// our own monotonic clock from when we first saw that value: a jump of the wall clock expires nobody, and after an outage of
// the control plane every agent has the full time to come back. The same after a gap in our own looking (the store was away, this
// process was stopped): nobody's messages could be written down then, so nobody was silent. Expiry never touches what is desired.
import type { NodeId } from '../../contracts/ids.ts'
import type { NodeRecord } from '../model/node.ts'

interface Heard {
  readonly lastSeenAtMs: number
  /** On the monotonic clock: when this value was first seen. */
  readonly sinceElapsedMs: number
}

/** What the last look remembers for the next one. */
export interface Watch {
  readonly lookedElapsedMs: number
  readonly nodes: ReadonlyMap<NodeId, Heard>
}

export const UNWATCHED: Watch = { lookedElapsedMs: 0, nodes: new Map() }

export interface Expiry {
  readonly watch: Watch
  /** Silent for at least the limit, smallest id first. They stay in here until they speak. */
  readonly expired: readonly NodeRecord[]
  /** When the next node could expire, from now; null when none can. */
  readonly nextLookMs: number | null
}

export function expireNodes(before: Watch, nodes: readonly NodeRecord[], elapsedMs: number, silentMsMax: number): Expiry {
  // Half the limit: what is left of it still holds two heartbeats.
  const blind = elapsedMs - before.lookedElapsedMs > silentMsMax / 2
  const heard = new Map<NodeId, Heard>()
  const expired: NodeRecord[] = []
  let nextLookMs: number | null = null
  for (const node of [...nodes].sort((a, b) => (a.id < b.id ? -1 : 1))) {
    const known = blind ? undefined : before.nodes.get(node.id)
    const now = known?.lastSeenAtMs === node.lastSeenAtMs ? known : { lastSeenAtMs: node.lastSeenAtMs, sinceElapsedMs: elapsedMs }
    heard.set(node.id, now)
    const leftMs = now.sinceElapsedMs + silentMsMax - elapsedMs
    if (leftMs <= 0) expired.push(node)
    else nextLookMs = Math.min(nextLookMs ?? leftMs, leftMs)
  }
  return { watch: { lookedElapsedMs: elapsedMs, nodes: heard }, expired, nextLookMs }
}
