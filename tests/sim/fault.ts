// What a fault is, and how most of them find somebody to befall.
import type { InstanceId } from '../../src/contracts/ids.ts'
import type { Chance } from './chance.ts'
import type { SimControl } from './control.ts'
import type { SimNode } from './node.ts'
import type { World } from './world.ts'

export interface Given {
  readonly world: World
  readonly chance: Chance
  /** It had an effect; called once or never. */
  readonly hit: () => void
}

export interface Fault {
  readonly weight: number
  readonly inject: (given: Given) => void
}

export const anyNode = ({ world, chance }: Given): SimNode | undefined => chance.pick(world.nodes)
export const anyControl = ({ world, chance }: Given): SimControl | undefined => chance.pick(world.controls.filter((one) => one.up))

/** Some that lives, and where. */
export function anyLiving(given: Given): { readonly node: SimNode; readonly id: InstanceId } | undefined {
  const all = given.world.nodes.flatMap((node) => node.ids().map((id) => ({ node, id })))
  return given.chance.pick(all)
}

export const onNode =
  (act: (node: SimNode, given: Given) => void): Fault['inject'] =>
  (given) => {
    const node = anyNode(given)
    if (node) act(node, given)
  }

export const onLiving =
  (act: (node: SimNode, id: InstanceId, given: Given) => void): Fault['inject'] =>
  (given) => {
    const found = anyLiving(given)
    if (!found) return
    given.world.ledger.byTheWorld(() => act(found.node, found.id, given))
    given.hit()
  }

/** Something of a node is out of order for a while. */
export const forAWhile =
  (minMs: number, maxMs: number, begin: (node: SimNode, given: Given) => () => void): Fault['inject'] =>
  (given) => {
    const node = anyNode(given)
    if (!node) return
    const end = begin(node, given)
    given.hit()
    given.world.time.after(given.chance.between(minMs, maxMs), end)
    given.world.mend.push(end)
  }
