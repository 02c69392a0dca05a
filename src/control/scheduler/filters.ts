// The hard rules: a node that breaks one is not taken, and the row says how that is explained, per node and in a sum.
import type { Ask, NodeLoad } from './ask.ts'

export interface Filter {
  /** The dimension, stable for scripts. */
  readonly name: string
  readonly fits: (load: NodeLoad, ask: Ask) => boolean
  /** Of one node that does not fit. */
  readonly detail: (load: NodeLoad, ask: Ask) => string
  /** Of `misses` nodes, as the second half of "3 nodes: …". */
  readonly explain: (misses: number) => string
}

const mebibytes = (bytes: number) => `${Math.floor(bytes / 2 ** 20)}Mi`
const freeMemoryBytes = (load: NodeLoad) => load.node.facts.allocatableMemoryBytes - load.reservedMemoryBytes
const runtimeOf = (load: NodeLoad, ask: Ask) => load.node.facts.runtimes.find((status) => status.runtime === ask.runtime)
const wrongLabels = (load: NodeLoad, ask: Ask) =>
  Object.entries(ask.nodeSelector).filter(
    ([key, value]) => !Object.hasOwn(load.node.facts.labels, key) || load.node.facts.labels[key] !== value,
  )

export const FILTERS: readonly Filter[] = [
  {
    name: 'offline',
    fits: (load) => load.node.connected,
    detail: () => 'its agent is not connected',
    explain: (misses) => `${misses} offline`,
  },
  {
    name: 'cordoned',
    fits: (load) => !load.node.cordoned,
    detail: () => 'nothing new is placed on it until it is uncordoned',
    explain: (misses) => `${misses} cordoned`,
  },
  {
    name: 'runtime',
    fits: (load, ask) => runtimeOf(load, ask)?.usable === true,
    detail: (load, ask) => {
      const status = runtimeOf(load, ask)
      return status ? `the ${ask.runtime} runtime is not usable: ${status.detail}` : `it does not offer the ${ask.runtime} runtime`
    },
    explain: (misses) => `${misses} without the runtime`,
  },
  {
    name: 'selector',
    fits: (load, ask) => wrongLabels(load, ask).length === 0,
    detail: (load, ask) =>
      wrongLabels(load, ask)
        .map(([key, value]) => `label ${key} is not ${JSON.stringify(value)}`)
        .join(', '),
    explain: (misses) => `${misses} not selected`,
  },
  {
    name: 'memory',
    fits: (load, ask) => freeMemoryBytes(load) >= ask.memoryBytes,
    detail: (load, ask) =>
      `needs ${mebibytes(ask.memoryBytes)}; ${mebibytes(Math.max(0, freeMemoryBytes(load)))} of ${mebibytes(load.node.facts.allocatableMemoryBytes)} is free`,
    explain: (misses) => `${misses} short of memory`,
  },
  {
    name: 'pressure',
    fits: (load) => load.node.usage.pressure.length === 0,
    detail: (load) => `it is short of ${load.node.usage.pressure.join(' and ')}; new instances wait`,
    explain: (misses) => `${misses} under pressure`,
  },
]
