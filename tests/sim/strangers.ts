// Runtime objects that no instance has: ours, of a life that nobody remembers, and others that only look like ours. The first are garbage
// and go by the rules of docs/models/collection.md, the others are nobody's business.
import type { FakeObject } from '../../src/agent/drivers/fake/fake-world.ts'
import { DEFAULT_GC } from '../../src/contracts/gc-config.ts'
import { InstanceId, newId } from '../../src/contracts/ids.ts'
import type { Chance } from './chance.ts'
import { LifeClock } from './clock.ts'
import type { Ledger, Watcher } from './ledger.ts'
import type { SimNode } from './node.ts'
import type { Store } from './store-watch.ts'

interface Planted {
  readonly node: SimNode
  readonly ours: boolean
  /** By the clock of its machine that never jumps. */
  readonly sinceMs: number
}

/** A stop is asked for right after the look that found it due. */
const SLACK_MS = 1000

export class Strangers implements Watcher {
  readonly #planted = new Map<FakeObject, Planted>()
  readonly #ledger: Ledger
  readonly #store: Store

  constructor(ledger: Ledger, store: Store) {
    this.#ledger = ledger
    this.#store = store
  }

  /** Something that runs like one of the others; false when nothing runs there. */
  plant(node: SimNode, ours: boolean, chance: Chance): boolean {
    const like = chance.pick(node.runtime.world.objects.filter(({ state, want }) => state === 'running' && !node.strangers.has(want.id)))
    if (!like) return false
    const id = InstanceId.parse(newId.instance(new LifeClock(node.machine, chance), chance))
    node.strangers.add(id)
    const want = { ...like.want, id, incarnation: chance.whole(1, 5), nonce: chance.text(20) }
    const object = this.#ledger.byTheWorld(() => node.runtime.world.start(want))
    object.mismatch = !ours
    this.#planted.set(object, { node, ours, sinceMs: node.machine.elapsedMs() })
    return true
  }

  stopAsked(node: SimNode, object: FakeObject): void {
    this.#touched(node, object, 'stops')
  }

  removeAsked(node: SimNode, object: FakeObject): void {
    this.#touched(node, object, 'removes')
  }

  #touched(node: SimNode, object: FakeObject, how: string): void {
    const { id } = object.want
    const planted = this.#planted.get(object)
    if (!planted) {
      this.#known(node, object, how)
      return
    }
    if (!planted.ours) this.#ledger.violate('what is not ours is never touched', `${node.nodeId} ${how} ${id}`)
    const fromMs = Math.max(planted.sinceMs, node.bornMs, node.awayMs)
    const forMs = Math.round(node.machine.elapsedMs() - fromMs)
    if (planted.ours && forMs < DEFAULT_GC.graceMs - SLACK_MS)
      this.#ledger.violate('what nobody knows goes by its rules', `${node.nodeId} ${how} ${id}, garbage without a break for ${forMs} ms`)
  }

  /** The agent has no record of it; whose wishes it has not heard, it may not take for nobody's. */
  #known(node: SimNode, object: FakeObject, how: string): void {
    const { id } = object.want
    if (object.state === 'dead' || this.#ledger.recordOf(node, id) || this.#ledger.heardOf(node, id)) return
    const now = this.#store.last(id)
    if (now?.nodeId !== node.nodeId || now.deletedAtMs !== null || (now.want !== 'running' && now.want !== 'paused')) return
    this.#ledger.violate(
      'what nobody knows goes by its rules',
      `${node.nodeId} ${how} ${id}, wished ${now.want}, of which it has not heard`,
    )
  }
}
