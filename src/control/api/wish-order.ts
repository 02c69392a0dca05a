// Wishes reach an agent in the order in which they were read. Two reads may be under way at once, and the one that began first may end
// last; what it brings is older than what the agent was told meanwhile. The agent refuses an older generation of what it knows, but what
// has been deleted and forgotten in between it would take for new, and start.
import type { Desired } from '../../contracts/agent-protocol.ts'
import type { InstanceId } from '../../contracts/ids.ts'

/** Numbers reads in the order in which they begin; one for all sessions of a process. */
export class ReadOrder {
  #last = 0

  /** To be asked for before the read. */
  begin(): number {
    this.#last += 1
    return this.#last
  }
}

/** What one session has said, and when that was read. */
export class WishOrder {
  #wholeAt = 0
  /** Said since the last whole set. */
  readonly #saidAt = new Map<InstanceId, number>()

  /** Of a part, those of which nothing newer was said. They count as said. */
  part(items: readonly Desired[], readAt: number): readonly Desired[] {
    if (readAt < this.#wholeAt) return []
    const fresh = items.filter(({ id }) => (this.#saidAt.get(id) ?? 0) < readAt)
    for (const { id } of fresh) this.#saidAt.set(id, readAt)
    return fresh
  }

  /** Of the whole set, likewise; null when a newer whole set was said. */
  whole(items: readonly Desired[], readAt: number): readonly Desired[] | null {
    if (readAt < this.#wholeAt) return null
    this.#wholeAt = readAt
    for (const [id, saidAt] of this.#saidAt) if (saidAt < readAt) this.#saidAt.delete(id)
    return items.filter(({ id }) => !this.#saidAt.has(id))
  }
}
