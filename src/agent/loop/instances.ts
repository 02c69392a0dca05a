// The reconcile loop of the agent. It owns the map of instances; every change of one happens in its turn (stepper.ts), which the keyed
// queue gives to one instance at a time. Around it: wishes from the link, events from drivers, results of checks, timers; each of
// them only leaves a fact behind and nudges.
//
// Invariants: a wish older than the one known is ignored; an effect of an older wish is aborted when the newer one contradicts it;
// an instance the control plane does not know is left alone until garbage collection disowns it.
import { type KeyedQueue, keyedQueue } from '../../base/keyed-queue.ts'
import type { Desired, Observed, Transition } from '../../contracts/agent-protocol.ts'
import type { InstanceId } from '../../contracts/ids.ts'
import type { Exit } from '../../contracts/phase.ts'
import type { RecoveryMode } from '../../contracts/spec.ts'
import { type InstanceRecord, type JournalLine, newRecord } from '../model/record.ts'
import type { Sight } from '../observe/look.ts'
import { resumed } from '../reconcile/clock-set.ts'
import { specChanged } from '../reconcile/moves.ts'
import { isShutDown } from '../reconcile/plan.ts'
import { type Entry, holdsReservation, newEntry, observedOf } from './entry.ts'
import { Stepper, type StepperDeps, type StepperLimits } from './stepper.ts'

export interface InstancesDeps extends StepperDeps {
  readonly limits: StepperLimits & { readonly plansMax: number }
}

interface Adopted {
  readonly last: JournalLine
  readonly transitions: readonly Transition[]
}

interface End {
  readonly incarnation: number
  readonly nonce: string
  readonly exit: Exit
}

export class Instances {
  readonly entries = new Map<InstanceId, Entry>()
  readonly #deps: InstancesDeps
  readonly #closing = new AbortController()
  readonly #queue: KeyedQueue<InstanceId>
  readonly #stepper: Stepper

  constructor(deps: InstancesDeps) {
    this.#deps = deps
    this.#queue = keyedQueue<InstanceId>({
      run: (id) => this.#run(id),
      onError: (id, error) => this.#failed(id, error),
      concurrencyMax: deps.limits.plansMax,
    })
    this.#stepper = new Stepper(
      deps,
      this.#closing,
      (id) => this.#queue.nudge(id),
      (id) => this.entries.delete(id),
    )
  }

  /** What a former agent left; nothing is done to it before it has been looked at. */
  adopt(lines: readonly Adopted[]): void {
    for (const { last, transitions } of lines) {
      const entry = newEntry(resumed(last.record, this.#deps.clock.wallMs()), transitions.slice(-this.#deps.limits.outboxMax))
      this.entries.set(last.record.desired.id, entry)
      if (holdsReservation(last.record)) this.#deps.adoptReservation(last.record)
    }
  }

  /** Wishes; one older than the known is ignored. */
  setDesired(items: readonly Desired[]): void {
    for (const item of items) {
      const entry = this.entries.get(item.id)
      if (!entry) {
        this.entries.set(item.id, newEntry(newRecord(item, this.#deps.clock.wallMs()), []))
        this.#queue.nudge(item.id)
        continue
      }
      // It is known after all.
      if (entry.record.phase.kind !== 'deleted') entry.disowned = false
      if (item.generation > entry.record.desired.generation && item.generation > (entry.wish?.generation ?? 0)) {
        entry.wish = item
        if (contradicts(entry, item) || switchesOff(entry.record, this.#deps.policyFor({ ...entry.record, desired: item }).mode))
          entry.abort?.abort(new Error('a newer wish replaced it'))
      } else continue
      this.#queue.nudge(item.id)
    }
  }

  /** Nobody but this node knows of it: it goes as if it were wished deleted, until a wish for it comes. */
  disown(id: InstanceId): void {
    const entry = this.entries.get(id)
    if (!entry || entry.disowned) return
    entry.disowned = true
    this.#queue.nudge(id)
  }

  /** Something may have happened to it: look and plan. */
  lookAgain(id: InstanceId): void {
    const entry = this.entries.get(id)
    if (!entry) return
    entry.look = true
    entry.eventAtMs ??= this.#deps.clock.elapsedMs()
    this.#queue.nudge(id)
  }

  /** The runtime itself said that this object has ended: plan at once, without asking it again. */
  ended(id: InstanceId, { incarnation, nonce, exit }: End): void {
    const entry = this.entries.get(id)
    if (!entry) return
    const known = entry.sight.kind === 'known' && !entry.look ? entry.sight.objects : []
    if (entry.actionUnderWay === null && known.some((object) => object.incarnation === incarnation && object.nonce === nonce)) {
      entry.epoch += 1
      const objects = known.map((object) =>
        object.incarnation === incarnation ? { ...object, state: 'dead' as const, pid: null, exit } : object,
      )
      entry.sight = { kind: 'known', objects }
    } else entry.look = true
    entry.eventAtMs ??= this.#deps.clock.elapsedMs()
    this.#queue.nudge(id)
  }

  /** What a listing says; `epoch` is the entry's when the listing began, and a listing older than the last look or effect is dropped. */
  setSight(id: InstanceId, sight: Sight, epoch: number): void {
    const entry = this.entries.get(id)
    if (!entry || entry.epoch !== epoch) return
    entry.sight = sight
    entry.look = false
    this.#queue.nudge(id)
  }

  /** The settings of the node have changed: everybody is planned anew, and a start that nobody wants any more is let go of. */
  settingsChanged(): void {
    for (const [id, entry] of this.entries) {
      const { mode } = this.#deps.policyFor(entry.record)
      const starting = entry.actionUnderWay === 'prepare' || entry.actionUnderWay === 'start'
      if (starting && switchesOff(entry.record, mode)) entry.abort?.abort(new Error('recovery was switched off'))
      this.#queue.nudge(id)
    }
  }

  nudge(id: InstanceId): void {
    this.#queue.nudge(id)
  }

  /** The control plane has stored everything up to this transition. */
  acked(id: InstanceId, seq: number): void {
    const entry = this.entries.get(id)
    if (!entry) return
    // Not of this numbering: it is no word on what this agent has told.
    if (seq > entry.record.seq) {
      entry.seqFloor = Math.max(entry.seqFloor, seq)
      return
    }
    entry.outbox = entry.outbox.filter((transition) => transition.seq > seq)
    if (entry.record.phase.kind === 'deleted' && seq >= entry.record.seq) {
      entry.deletionStored = true
      this.#queue.nudge(id)
    }
  }

  observed(id: InstanceId): Observed | undefined {
    const entry = this.entries.get(id)
    return entry && observedOf(entry)
  }

  /** From now on nothing is started: everything counts as wished stopped, whatever the control plane says. */
  beginShutdown(): void {
    this.#stepper.shutDown()
  }

  /** Begins the shutdown and waits until nothing runs. */
  async shutdown(signal: AbortSignal): Promise<void> {
    this.beginShutdown()
    for (const [id, entry] of this.entries) {
      entry.abort?.abort(new Error('the node is shutting down'))
      this.#queue.nudge(id)
    }
    // A turn under way may still lead out of the state that the record shows.
    const resting = () =>
      this.#queue.running === 0 && this.#queue.waiting === 0 && [...this.entries.values()].every(({ record }) => isShutDown(record))
    while (!resting()) await this.#deps.clock.sleep(20, signal)
  }

  /** After a shutdown: removes what the runtimes still keep of ended workloads; their output stays as evidence. */
  async removeEnded(signal: AbortSignal): Promise<void> {
    await Promise.all(
      [...this.entries.values()].map(async ({ record, sight }) => {
        const objects = sight.kind === 'known' ? sight.objects.filter((object) => object.matches && object.state === 'dead') : []
        if (objects.length === 0) return
        const removed = await this.#deps.execute(record, { kind: 'remove', id: record.desired.id, objects }, signal)
        if (!removed.ok)
          this.#deps.log.warn('ended object not removed', {
            instance_id: record.desired.id,
            error_code: removed.error.code,
            error: removed.error.detail,
          })
      }),
    )
  }

  /** Nothing further is done; workloads keep running. */
  async close(): Promise<void> {
    this.#closing.abort(new Error('the agent is closing'))
    for (const entry of this.entries.values()) entry.cancelWake()
    await this.#queue.close()
  }

  async #run(id: InstanceId): Promise<void> {
    const entry = this.entries.get(id)
    if (entry) await this.#stepper.run(entry)
  }

  /** A bug in one step must not leave the instance unattended; it is asked again, slowly. */
  #failed(id: InstanceId, error: unknown): void {
    this.#deps.log.error('reconcile failed', {
      instance_id: id,
      error: error instanceof Error ? (error.stack ?? error.message) : String(error),
    })
    const entry = this.entries.get(id)
    if (entry && !this.#closing.signal.aborted) this.#stepper.wake(entry, this.#deps.clock.wallMs() + this.#deps.limits.diskRetryMs)
  }
}

/** An automatic recovery is under way, and is not wanted any more. */
const switchesOff = ({ episode }: InstanceRecord, mode: RecoveryMode): boolean => mode !== 'on' && episode !== null && !episode.forced

/** A start that the newer wish contradicts is aborted; everything else is let finish. */
function contradicts(entry: Entry, wish: Desired): boolean {
  if (entry.actionUnderWay === null || entry.actionUnderWay === 'other') return false
  const { record } = entry
  return (
    wish.want === 'stopped' ||
    wish.want === 'deleted' ||
    wish.restartSeq > record.acted.restartSeq ||
    specChanged({ ...record, desired: wish })
  )
}
