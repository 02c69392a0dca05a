import { ok, type Result } from '../../base/result.ts'
import type { Failure } from '../../contracts/errors.ts'
import type { NodeRecord } from '../model/node.ts'
import type { CoreDeps } from './deps.ts'

/** The nodes as they were a moment ago: for what must not cost a query over the whole fleet with each request. */
export interface NodeCache {
  get(): Promise<Result<readonly NodeRecord[], Failure>>
  close(): void
}

export function createNodeCache({ store, clock, limits }: Pick<CoreDeps, 'store' | 'clock' | 'limits'>): NodeCache {
  let known: { readonly nodes: readonly NodeRecord[]; readonly untilMs: number } | null = null
  let changes = 0
  const close = store.listen((change) => {
    if (change !== null && change.kind !== 'node') return
    known = null
    changes += 1
  })
  return {
    close,
    async get() {
      if (known && known.untilMs > clock.elapsedMs()) return ok(known.nodes)
      const before = changes
      const nodes = await store.read.allNodes()
      // What changed while it was read may not be in it; and the first node of all counts from its first moment.
      if (nodes.ok && nodes.value.length > 0 && before === changes)
        known = { nodes: nodes.value, untilMs: clock.elapsedMs() + limits.nodeCacheMs }
      return nodes
    },
  }
}
