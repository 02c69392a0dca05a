// What the scheduler is asked, and what it knows of each node.

import type { InstanceSpec } from '../../contracts/spec.ts'
import type { InstanceRecord } from '../model/instance.ts'
import type { NodeRecord } from '../model/node.ts'

/** What one instance needs of a node. */
export interface Ask {
  readonly runtime: InstanceSpec['runtime']
  readonly memoryBytes: number
  readonly cpuMillis: number
  readonly nodeSelector: Readonly<Record<string, string>>
  /** Replicas of one process type spread over nodes; null for an instance by itself. */
  readonly group: string | null
}

/** A node with what is already promised on it. Never mutated: placing gives a new one. */
export interface NodeLoad {
  readonly node: NodeRecord
  readonly reservedMemoryBytes: number
  readonly reservedCpuMillis: number
  /** Replicas here, by group. */
  readonly replicas: Readonly<Record<string, number>>
  /** Replicas here that lately failed, by group. */
  readonly failures: Readonly<Record<string, number>>
}

export const askOf = (instance: InstanceRecord): Ask => ({
  runtime: instance.spec.runtime,
  memoryBytes: instance.spec.memoryBytes,
  cpuMillis: instance.spec.cpuMillis,
  nodeSelector: instance.spec.nodeSelector,
  group: groupOf(instance),
})

const groupOf = (instance: Pick<InstanceRecord, 'membership'>): string | null =>
  instance.membership && `${instance.membership.envId}/${instance.membership.processType}`

/** How long a failed replica counts against its node. */
const FAILURE_COUNTS_MS = 600_000

const FAILED: ReadonlySet<string> = new Set(['failed', 'quarantined', 'crash_looping'])

/** The load of each node, as the ledger has it; `known` are the instances whose spreading matters, on whichever node. */
export function loadsOf(nodes: readonly NodeRecord[], known: readonly InstanceRecord[], nowMs: number): readonly NodeLoad[] {
  const replicas = new Map<string, Record<string, number>>()
  const failures = new Map<string, Record<string, number>>()
  const count = (counts: Map<string, Record<string, number>>, nodeId: string, group: string) => {
    const row = counts.get(nodeId) ?? {}
    row[group] = (row[group] ?? 0) + 1
    counts.set(nodeId, row)
  }
  for (const instance of known) {
    const group = groupOf(instance)
    if (instance.nodeId === null || group === null) continue
    count(replicas, instance.nodeId, group)
    if (FAILED.has(instance.phase.kind) && nowMs - instance.phase.sinceMs < FAILURE_COUNTS_MS) count(failures, instance.nodeId, group)
  }
  return nodes.map((node) => ({
    node,
    reservedMemoryBytes: node.reservedMemoryBytes,
    reservedCpuMillis: node.reservedCpuMillis,
    replicas: replicas.get(node.id) ?? {},
    failures: failures.get(node.id) ?? {},
  }))
}
