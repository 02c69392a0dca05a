// The database behind memory stores: what is committed, one write at a time, who holds which lease, and which replicas of the control
// plane are connected. It lives as long as the test, whatever becomes of the stores on it.
import type { ChangeKey } from '../../src/control/model/event.ts'
import { type MemoryRows, memoryTables } from './memory-tables.ts'

/** A store that is connected to it. */
export interface Replica {
  readonly replica: number
  /** False while it is cut off: others take its sessions for dead. */
  readonly isConnected: () => boolean
  readonly tell: (change: ChangeKey | null) => void
}

export class MemoryDatabase {
  readonly #tables = memoryTables()
  readonly #replicas = new Map<number, Replica>()
  readonly #holders = new Map<string, object>()
  readonly #waiters = new Map<string, Set<() => void>>()
  #last: Promise<unknown> = Promise.resolve()
  #replicasEver = 0

  /** What is committed. */
  get rows(): MemoryRows {
    return this.#tables.rows
  }

  /** One write after the other, in the order in which they were asked for. */
  inTurn<T>(run: () => Promise<T>): Promise<T> {
    const mine = this.#last.then(run)
    this.#last = mine.catch(() => undefined)
    return mine
  }

  draft(): ReturnType<ReturnType<typeof memoryTables>['draft']> {
    return this.#tables.draft()
  }

  join(make: (replica: number) => Replica): () => void {
    this.#replicasEver += 1
    const number = this.#replicasEver
    this.#replicas.set(number, make(number))
    return () => void this.#replicas.delete(number)
  }

  isReplicaAlive(replica: number): boolean {
    return this.#replicas.get(replica)?.isConnected() === true
  }

  /** After a commit. What is told while a replica is cut off never reaches it. */
  tell(changes: readonly (ChangeKey | null)[]): void {
    for (const change of changes) for (const replica of this.#replicas.values()) if (replica.isConnected()) replica.tell(change)
  }

  /** False while somebody else has it. */
  tryHold(name: string, holder: object): boolean {
    if (this.#holders.has(name)) return false
    this.#holders.set(name, holder)
    return true
  }

  /** Called when it is let go of; the returned function takes that back. */
  whenFree(name: string, call: () => void): () => void {
    const waiters = this.#waiters.get(name) ?? new Set()
    this.#waiters.set(name, waiters)
    waiters.add(call)
    return () => void waiters.delete(call)
  }

  free(name: string, holder: object): void {
    if (this.#holders.get(name) !== holder) return
    this.#holders.delete(name)
    for (const waiter of [...(this.#waiters.get(name) ?? [])]) waiter()
  }
}
