// A store in memory, for the simulator: the meaning of the one on PostgreSQL (the conformance suite runs on both), on the clock and
// with the faults that it is given. It uses no time and no chance of its own: the same calls in the same order give the same answers.
//
// Writes are one after the other, each on a draft that is committed whole or dropped; whoever reads meanwhile sees what is committed.
import type { Clock } from '../../src/base/clock.ts'
import { type Logger, silentLogger } from '../../src/base/log.ts'
import { err, ok, type Result } from '../../src/base/result.ts'
import { DEFAULT_CONFIG } from '../../src/contracts/config.ts'
import { type Failure, failure } from '../../src/contracts/errors.ts'
import type { NodeId } from '../../src/contracts/ids.ts'
import type { Actor } from '../../src/control/model/actor.ts'
import type { ChangeKey } from '../../src/control/model/event.ts'
import type { ClaimedHeal } from '../../src/control/model/heal.ts'
import type { StoreAccess, StoreReads, StoreWrites } from '../../src/control/store/access.ts'
import type { HealClaim } from '../../src/control/store/heal-fold.ts'
import type { Lease } from '../../src/control/store/lease.ts'
import { type Mutation, type MutationReply, type Reply, runMutation } from '../../src/control/store/mutation.ts'
import type { Listener } from '../../src/control/store/notifications.ts'
import type { Heartbeat } from '../../src/control/store/session-fold.ts'
import { WriteBuffer } from '../../src/control/store/write-buffer.ts'
import { healWrites, sessionWrites, storeHeartbeats, takeDueHeals } from './memory-agents.ts'
import { MemoryDatabase } from './memory-database.ts'
import { type HeldLease, takeLease } from './memory-lease.ts'
import { envWrites, logWrites, memoryKeys, writeLogs } from './memory-platform.ts'
import { memoryReads } from './memory-reads.ts'
import { type Draft, instanceWrites, placementWrites } from './memory-writes.ts'

/** What can fail: all reads, one of them, all writes, those of one actor, leases. */
export type StoreOp = 'read' | keyof StoreReads | 'write' | 'claimHeals' | 'recordHeartbeats' | Actor | 'lease'
/**
 * before: nothing happened. after-commit: it happened, and only the answer is lost. rerun: the write loses a race once and is run
 * again, which nobody hears of.
 */
export type FaultMoment = 'before' | 'after-commit' | 'rerun'

export interface MemoryStoreOptions {
  readonly clock: Clock
  readonly database?: MemoryDatabase
  readonly log?: Logger
  readonly keysKeptMs?: number
}

type Tx = StoreWrites & Draft
const lostAnswer = () => failure('store_unavailable', 'No connection to the database (simulated).', { cause: 'simulated' })

export class MemoryStore implements StoreAccess {
  readonly database: MemoryDatabase
  readonly read: StoreReads
  replica = 0
  /** How long each call takes before it is looked at. */
  latencyMs = 0
  /** When a notification arrives, in ms from its commit: none = lost, two = twice. */
  deliveries: (change: ChangeKey | null) => readonly number[] = () => [1]
  readonly #clock: Clock
  readonly #log: Logger
  readonly #keys: ReturnType<typeof memoryKeys>
  readonly #listeners = new Set<Listener>()
  readonly #held = new Set<HeldLease>()
  readonly #closing = new AbortController()
  readonly #leave: () => void
  #faults: { readonly op: StoreOp; readonly when: FaultMoment }[] = []
  #down = false
  /** How often it was cut off: what was under way then has failed. */
  #cuts = 0

  constructor(options: MemoryStoreOptions) {
    const { clock, database = new MemoryDatabase(), log = silentLogger } = options
    this.#clock = clock
    this.#log = log
    this.#keys = memoryKeys(options.keysKeptMs ?? DEFAULT_CONFIG.store.retention.keysMs)
    this.database = database
    this.#leave = database.join((replica) => {
      this.replica = replica
      return { replica, isConnected: () => !this.#down, tell: (change) => this.#hear(change) }
    })
    this.read = this.#guarded(memoryReads(database.rows))
  }

  /** The next call of this kind fails in this way. */
  failNext(op: StoreOp, when: FaultMoment): void {
    this.#faults.push({ op, when })
  }

  /** Cuts this store off its database, or connects it again. Its leases are lost, and so is what it is told meanwhile. */
  down(on: boolean): void {
    if (on === this.#down) return
    this.#down = on
    if (on) {
      this.#cuts += 1
      this.loseLease()
    } else this.#tell(null, 1)
  }

  /** The connections that hold its leases end: another one takes them, with higher epochs. */
  loseLease(): void {
    for (const held of this.#held) held.lose()
    this.#held.clear()
  }

  listen(onChange: Listener): () => void {
    this.#listeners.add(onChange)
    return () => void this.#listeners.delete(onChange)
  }

  mutate(mutation: Mutation, run: (tx: StoreWrites) => Promise<Result<MutationReply, Failure>>): Promise<Result<Reply, Failure>> {
    return runMutation<Tx>((actor, given) => this.#write(['write', actor], actor, given), this.#keys, mutation, run)
  }

  write<T>(actor: Actor, run: (tx: StoreWrites) => Promise<Result<T, Failure>>): Promise<Result<T, Failure>> {
    return this.#write(['write', actor], actor, run)
  }

  claimHeals(given: HealClaim): Promise<Result<readonly ClaimedHeal[], Failure>> {
    return this.#write(['write', 'claimHeals'], 'system:healer', async ({ rows }) => ok(takeDueHeals(rows, given)))
  }

  recordHeartbeats(nowMs: number, beats: readonly Heartbeat[]): Promise<Result<readonly NodeId[], Failure>> {
    return this.#write(['write', 'recordHeartbeats'], 'system:link', async ({ rows }) => ok(storeHeartbeats(rows, nowMs, beats)))
  }

  async lease(name: string, signal: AbortSignal): Promise<Result<Lease, Failure>> {
    const failed = await this.#begin(['lease'])
    if (failed.refusal) return err(failed.refusal)
    const refused = () => (this.#down ? lostAnswer() : null)
    const asking = { database: this.database, clock: this.#clock, refused, signal: AbortSignal.any([signal, this.#closing.signal]) }
    const taken = await takeLease(asking, name)
    if (!taken.ok) return taken
    const { lease, lose } = taken.value
    this.#held.add(taken.value)
    lease.signal.addEventListener('abort', () => this.#held.delete(taken.value), { once: true })
    if (failed.fault === undefined && !this.#down && !asking.signal.aborted) return ok(lease)
    lose()
    return err(asking.signal.aborted ? failure('shutting_down', `No longer waiting for ${name}.`) : lostAnswer())
  }

  async close(): Promise<void> {
    this.#closing.abort()
    this.loseLease()
    this.#listeners.clear()
    this.#leave()
  }

  async #write<T>(ops: readonly StoreOp[], actor: Actor, run: (tx: Tx) => Promise<Result<T, Failure>>): Promise<Result<T, Failure>> {
    const { refusal, fault } = await this.#begin(ops)
    if (refusal) return err(refusal)
    const cuts = this.#cuts
    return this.database.inTurn(async () => {
      if (fault === 'rerun') await run(this.#draft(actor).tx)
      const { tx, buffer, commit } = this.#draft(actor)
      const result = await run(tx)
      if (!result.ok) return result
      if (cuts !== this.#cuts) return err(lostAnswer())
      writeLogs(tx, buffer.events, buffer.audits)
      commit()
      this.database.tell(buffer.changes())
      return fault === 'after-commit' ? err(lostAnswer()) : result
    })
  }

  #draft(actor: Actor): { readonly tx: Tx; readonly buffer: WriteBuffer; readonly commit: () => void } {
    const { rows, commit } = this.database.draft()
    const buffer = new WriteBuffer()
    const { emit, audit, changed } = buffer
    const isReplicaAlive = (replica: number) => this.database.isReplicaAlive(replica)
    const draft: Draft = { rows, nowMs: this.#clock.wallMs(), actor, emit, audit, changed, isReplicaAlive }
    const logs = { ...envWrites(draft), ...logWrites(draft) }
    const agents = { ...placementWrites(draft), ...sessionWrites(draft), ...healWrites(draft) }
    return { tx: { ...draft, read: memoryReads(rows), ...instanceWrites(draft), ...agents, ...logs }, buffer, commit }
  }

  /** Each call begins here: it takes its time, and may fail. */
  async #begin(ops: readonly StoreOp[]): Promise<{ readonly refusal?: Failure; readonly fault?: FaultMoment }> {
    if (this.latencyMs > 0) await this.#clock.sleep(this.latencyMs)
    if (this.#closing.signal.aborted) return { refusal: failure('shutting_down', 'The store is being closed.') }
    const fault = this.#faults.find(({ op }) => ops.includes(op))
    this.#faults = this.#faults.filter((one) => one !== fault)
    if (this.#down || fault?.when === 'before') return { refusal: lostAnswer() }
    return fault ? { fault: fault.when } : {}
  }

  #guarded(reads: StoreReads): StoreReads {
    type Read = (...given: readonly unknown[]) => Promise<Result<unknown, Failure>>
    const guard = (name: string, read: Read): Read => {
      return async (...given) => {
        const { refusal, fault } = await this.#begin(['read', name as keyof StoreReads])
        if (refusal) return err(refusal)
        return fault === 'after-commit' ? err(lostAnswer()) : read(...given)
      }
    }
    return Object.fromEntries(Object.entries(reads).map(([name, read]) => [name, guard(name, read as Read)])) as unknown as StoreReads
  }

  #hear(change: ChangeKey | null): void {
    for (const delayMs of this.deliveries(change)) this.#tell(change, delayMs)
  }

  #tell(change: ChangeKey | null, delayMs: number): void {
    this.#clock.after(delayMs, () => {
      if (this.#down) return
      for (const listener of this.#listeners) {
        try {
          listener(change)
        } catch (error) {
          this.#log.error('change listener failed', { error: String(error) })
        }
      }
    })
  }
}
