// place(ask, loads) -> a node, or why each node refuses. Pure and deterministic: the same ask and loads, in any order, give the
// same answer. Memory is the one promise that is never broken; the store checks it once more under the row lock of the node.
import type { NodeId } from '../../contracts/ids.ts'
import type { InstanceRecord, NodeRefusal } from '../model/instance.ts'
import { type Ask, askOf, type NodeLoad } from './ask.ts'
import { FILTERS } from './filters.ts'
import { scoreOf } from './scores.ts'

export type Placement =
  | { readonly kind: 'placed'; readonly nodeId: NodeId }
  | { readonly kind: 'refused'; readonly refusals: readonly NodeRefusal[]; readonly summary: string }

/** Refusals kept with an instance; the summary still counts all nodes. */
export const REFUSALS_MAX = 64

export function place(ask: Ask, loads: readonly NodeLoad[]): Placement {
  let best: { readonly load: NodeLoad; readonly score: number } | undefined
  for (const load of loads) {
    if (!FILTERS.every((filter) => filter.fits(load, ask))) continue
    const score = scoreOf(load, ask)
    if (!best || score > best.score || (score === best.score && load.node.id < best.load.node.id)) best = { load, score }
  }
  return best ? { kind: 'placed', nodeId: best.load.node.id } : refuse(ask, loads)
}

export interface Placed {
  readonly instance: InstanceRecord
  readonly placement: Placement
}

/** One after the other in the given order, each on the loads that the ones before it leave. */
export function placeAll(instances: readonly InstanceRecord[], loads: readonly NodeLoad[]): readonly Placed[] {
  let now = loads
  return instances.map((instance) => {
    const ask = askOf(instance)
    const placement = place(ask, now)
    if (placement.kind === 'placed') now = withPlaced(now, placement.nodeId, ask)
    return { instance, placement }
  })
}

/** The loads after one more instance on that node. */
export const withPlaced = (loads: readonly NodeLoad[], nodeId: NodeId, ask: Ask): readonly NodeLoad[] =>
  loads.map((load) => {
    if (load.node.id !== nodeId) return load
    return {
      ...load,
      reservedMemoryBytes: load.reservedMemoryBytes + ask.memoryBytes,
      reservedCpuMillis: load.reservedCpuMillis + ask.cpuMillis,
      replicas: ask.group === null ? load.replicas : { ...load.replicas, [ask.group]: (load.replicas[ask.group] ?? 0) + 1 },
    }
  })

/** Every rule that each node breaks; of one that is offline only that, because nothing else is known to be so. */
function refusalsOf(ask: Ask, loads: readonly NodeLoad[]): readonly NodeRefusal[] {
  return [...loads]
    .sort((a, b) => (a.node.id < b.node.id ? -1 : 1))
    .flatMap((load) => {
      const broken = FILTERS.filter((filter) => !filter.fits(load, ask))
      const told = broken[0]?.name === 'offline' ? broken.slice(0, 1) : broken
      return told.map((filter) => ({ nodeId: load.node.id, refusedBy: filter.name, detail: filter.detail(load, ask) }))
    })
}

function refuse(ask: Ask, loads: readonly NodeLoad[]): Placement {
  const refusals = refusalsOf(ask, loads)
  if (loads.length === 0) return { kind: 'refused', refusals, summary: 'there is no node yet; start an agent' }
  const counts = FILTERS.map((filter) => ({ filter, misses: refusals.filter((refusal) => refusal.refusedBy === filter.name).length }))
  const parts = counts.filter(({ misses }) => misses > 0).map(({ filter, misses }) => filter.explain(misses))
  const nodes = loads.length === 1 ? '1 node' : `${loads.length} nodes`
  return { kind: 'refused', refusals: refusals.slice(0, REFUSALS_MAX), summary: `${nodes}: ${parts.join(', ')}` }
}
