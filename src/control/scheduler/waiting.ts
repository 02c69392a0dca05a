// Who has to be asked about again. What no node takes waits, and there may be thousands of it: reading and deciding all of them for each
// change of any instance costs more than everything else the control plane does. They are decided again when a node could take more
// than it could when it refused them, and at each resync; between these only what has itself changed is looked at.
import type { InstanceId, NodeId } from '../../contracts/ids.ts'
import type { NodeRecord } from '../model/node.ts'

/** What a node's refusals rest on. */
interface Ground {
  readonly reservedMemoryBytes: number
  /** Everything else that the filters read, as text. */
  readonly rules: string
}

/** As of the last look at everything. */
export interface Waiting {
  readonly grounds: ReadonlyMap<NodeId, Ground>
  /** Whether anything was refused, then or since. */
  readonly any: boolean
}

export const NO_GROUNDS: Waiting['grounds'] = new Map()

/** The same after a look at these nodes: of what was promised the most counts, for that is what something may have been refused on. */
export function addGrounds(grounds: Waiting['grounds'], nodes: readonly NodeRecord[]): Waiting['grounds'] {
  const all = new Map(grounds)
  for (const node of nodes) {
    const was = grounds.get(node.id)
    const reservedMemoryBytes = Math.max(node.reservedMemoryBytes, was?.reservedMemoryBytes ?? 0)
    all.set(node.id, { reservedMemoryBytes, rules: was?.rules ?? rulesOf(node) })
  }
  return all
}

/**
 * The instances to look at; null = all. `changed` null = anything may have changed, `known` null = nothing is known of an earlier look.
 * A node that has only been promised more refuses what it refused before.
 */
export function toLookAt(
  known: Waiting | null,
  changed: readonly InstanceId[] | null,
  nodes: readonly NodeRecord[],
): readonly InstanceId[] | null {
  if (known === null || changed === null) return null
  return known.any && nodes.some((node) => couldTakeMore(known.grounds.get(node.id), node)) ? null : changed
}

const couldTakeMore = (was: Ground | undefined, node: NodeRecord): boolean =>
  was === undefined || node.reservedMemoryBytes < was.reservedMemoryBytes || rulesOf(node) !== was.rules

const rulesOf = ({ connected, cordoned, facts, usage }: NodeRecord): string => JSON.stringify([connected, cordoned, facts, usage.pressure])
