// Watches the nodes: closes the sessions that nobody holds any more, and marks the instances of a node that has been silent for too
// long as lost. What is desired stays as it is, what was observed stays stored; when the agent speaks again its word replaces `lost`.
import { ok, type Result } from '../../base/result.ts'
import type { Failure } from '../../contracts/errors.ts'
import type { NodeId } from '../../contracts/ids.ts'
import type { NodeRecord } from '../model/node.ts'
import { expireNodes, UNWATCHED, type Watch } from '../reconcile/node-expiry.ts'
import type { LoopsDeps } from './deps.ts'
import type { Loop, Pass, Turn } from './runner.ts'

type Deps = Pick<LoopsDeps, 'store' | 'clock' | 'log' | 'config'>

interface Memory {
  watch: Watch
  /** Expired nodes already dealt with, by the last message that was heard of them. */
  handled: Map<NodeId, number>
}

export function nodesLoop(deps: Deps): Loop {
  const memory: Memory = { watch: UNWATCHED, handled: new Map() }
  return {
    name: 'nodes',
    resyncMs: Math.min(deps.config.resyncMs, deps.config.nodeSilentMs / 4),
    gapMs: 200,
    cares: ({ kind }) => kind === 'node',
    pass: (turn) => pass(deps, memory, turn),
    // Somebody else may have watched meanwhile; every node gets the full time again.
    reset: () => {
      memory.watch = UNWATCHED
      memory.handled = new Map()
    },
  }
}

async function pass(deps: Deps, memory: Memory, turn: Turn): Promise<Result<Pass, Failure>> {
  const { store, clock, config } = deps
  const before = await store.read.allNodes()
  if (!before.ok) return before
  if (before.value.some((node) => node.connected)) {
    const closed = await turn.write('system:nodes', (tx) => tx.expireSessions())
    if (!closed.ok) return closed
  }
  const { watch, expired, nextLookMs } = expireNodes(memory.watch, before.value, clock.elapsedMs(), config.nodeSilentMs)
  memory.watch = watch
  const silent = new Set(expired.map((node) => node.id))
  for (const id of memory.handled.keys()) if (!silent.has(id)) memory.handled.delete(id)
  for (const node of expired) {
    if (turn.signal.aborted) break
    const lost = await expire(deps, turn, memory, node)
    if (!lost.ok) return lost
  }
  return ok({ againMs: nextLookMs })
}

async function expire({ log, config }: Deps, { write }: Turn, memory: Memory, node: NodeRecord): Promise<Result<void, Failure>> {
  const first = memory.handled.get(node.id) !== node.lastSeenAtMs
  // Later looks are for what was placed there in the very moment it expired.
  if (!first && node.instances === 0) return ok(undefined)
  const lost = await write('system:nodes', async (tx) => {
    // A session that comes back to life must begin anew and say everything again, or its instances would stay lost.
    if (first) {
      const closed = await tx.closeSession(node.id, node.sessionEpoch)
      if (!closed.ok) return closed
    }
    return tx.markLost(node.id)
  })
  if (!lost.ok) return lost.error.code === 'not_found' ? ok(undefined) : lost
  memory.handled.set(node.id, node.lastSeenAtMs)
  if (lost.value.length > 0) log.warn('node lost', { node_id: node.id, instances_lost: lost.value.length, silent_ms: config.nodeSilentMs })
  return ok(undefined)
}
