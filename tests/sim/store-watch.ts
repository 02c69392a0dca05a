// Watches what is committed to the database of a simulation: each wish of each instance, what was deleted, and that the logs of the store
// have no gap. It joins the database as a replica that is always connected, so it hears of a commit in the moment of it.
import type { Transition } from '../../src/contracts/agent-protocol.ts'
import type { InstanceId } from '../../src/contracts/ids.ts'
import type { ChangeKey } from '../../src/control/model/event.ts'
import type { InstanceRecord } from '../../src/control/model/instance.ts'
import type { Ledger } from './ledger.ts'
import type { MemoryDatabase } from './memory-database.ts'

interface Wish {
  readonly want: InstanceRecord['want']
  readonly spec: string
  readonly restartSeq: number
  readonly recoverSeq: number
}

type OnCommit = (now: InstanceRecord, before: InstanceRecord | undefined) => void
type OnStep = (id: InstanceId, step: Transition) => void

export class Store {
  readonly deleted = new Set<InstanceId>()
  /** `from > to` of each stored transition, and how often. */
  readonly transitions = new Map<string, number>()
  /** Its node was killed before it could write what it had told: what comes next is numbered again. */
  excused: (now: InstanceRecord) => boolean = () => false
  readonly #database: MemoryDatabase
  readonly #ledger: Ledger
  readonly #wishes = new Map<InstanceId, Map<number, Wish>>()
  readonly #last = new Map<InstanceId, InstanceRecord>()
  readonly #history = new Map<InstanceId, { seq: number; state: string | null }>()
  readonly #heard: OnCommit[] = []
  readonly #stepped: OnStep[] = []
  #cursor = 0

  constructor(database: MemoryDatabase, ledger: Ledger) {
    this.#database = database
    this.#ledger = ledger
    database.join((replica) => ({ replica, isConnected: () => true, tell: (change) => this.#committed(change) }))
  }

  onCommit(heard: OnCommit): void {
    this.#heard.push(heard)
  }

  /** Of each stored step but those of instances that are excused. */
  onStep(stepped: OnStep): void {
    this.#stepped.push(stepped)
  }

  wish(id: InstanceId, generation: number): Wish | undefined {
    return this.#wishes.get(id)?.get(generation)
  }

  last(id: InstanceId): InstanceRecord | undefined {
    return this.#last.get(id)
  }

  /** Events are numbered without a gap; cheap, because only the new ones are looked at. */
  checkEvents(): void {
    const { events } = this.#database.rows
    for (let next = events.get(this.#cursor + 1); next; next = events.get(this.#cursor + 1)) this.#cursor += 1
    const newest = events.last()?.cursor ?? 0
    if (newest !== this.#cursor) this.#ledger.violate('events without a gap', `${this.#cursor + 1} is missing before ${newest}`)
  }

  #committed(change: ChangeKey | null): void {
    if (change?.kind !== 'instance') return
    const now = this.#database.rows.instances.get(change.id)?.record
    if (!now) return
    const before = this.#last.get(now.id)
    if (before === now) return
    this.#last.set(now.id, now)
    const { generation, want, restartSeq, recoverSeq, phase } = now
    this.#ledger.trace(
      `store ${now.id} g${generation} ${want} ${phase.kind} ${phase.reason} ${now.incarnation} ${now.nodeId} t${now.lastTransitionSeq}`,
    )
    const wishes = this.#wishes.get(now.id) ?? new Map<number, Wish>()
    this.#wishes.set(now.id, wishes)
    if (!wishes.has(generation)) wishes.set(generation, { want, spec: JSON.stringify(now.spec), restartSeq, recoverSeq })
    if (now.deletedAtMs !== null) this.deleted.add(now.id)
    this.#follow(now)
    for (const heard of this.#heard) heard(now, before)
  }

  /** Each transition is stored once, after the one that it comes from. */
  #follow(now: InstanceRecord): void {
    const { id } = now
    const stored = this.#database.rows.transitions.get(id) ?? []
    const known = this.#history.get(id) ?? { seq: 0, state: null }
    for (const step of stored.slice(-200)) {
      if (step.seq <= known.seq) continue
      if (step.seq !== known.seq + 1) this.#ledger.violate('transitions in order', `${id}: ${step.seq} was stored after ${known.seq}`)
      // `lost` is the control plane's word; the agent that speaks again goes on from where it was.
      if (!this.excused(now) && known.state !== null && known.state !== 'lost' && step.from !== known.state)
        this.#ledger.violate('transitions in order', `${id}: stored ${step.from} > ${step.to.kind} in state ${known.state}`)
      if (!this.excused(now)) {
        const key = `${step.from ?? '[*]'} > ${step.to.kind}`
        this.transitions.set(key, (this.transitions.get(key) ?? 0) + 1)
        for (const stepped of this.#stepped) stepped(id, step)
      }
      known.seq = step.seq
      known.state = step.to.kind
    }
    this.#history.set(id, known)
  }
}
