// The soft rules: which of the nodes that fit is best. Whole numbers, so that equal nodes are exactly equal and the node id decides.
import type { Ask, NodeLoad } from './ask.ts'

interface Score {
  readonly name: string
  readonly weight: number
  /** 0 to 1000; more is better. */
  readonly of: (load: NodeLoad, ask: Ask) => number
}

/** Halves, thirds, … : the first neighbour matters most. */
const share = (count: number) => Math.round(1000 / (1 + count))

const SCORES: readonly Score[] = [
  {
    name: 'cpu',
    weight: 1,
    of: (load, ask) => {
      const total = load.node.facts.allocatableCpuMillis
      if (total <= 0) return 0
      return Math.round(1000 * (1 - Math.min(1, (load.reservedCpuMillis + ask.cpuMillis) / total)))
    },
  },
  // Twice the others: one full node must not get all replicas because it has the most processors.
  { name: 'spread', weight: 2, of: (load, ask) => (ask.group === null ? 1000 : share(load.replicas[ask.group] ?? 0)) },
  { name: 'failures', weight: 1, of: (load, ask) => (ask.group === null ? 1000 : share(load.failures[ask.group] ?? 0)) },
]

export const scoreOf = (load: NodeLoad, ask: Ask): number => SCORES.reduce((sum, score) => sum + score.weight * score.of(load, ask), 0)
