// One instance's turn: plan, journal, act, and again until it is quiet. Called for one instance at a time by the keyed queue.
// A record is journalled before its step has any effect and before anybody hears of it.
import type { Clock, Random } from '../../base/clock.ts'
import type { Logger } from '../../base/log.ts'
import type { Result } from '../../base/result.ts'
import type { Transition } from '../../contracts/agent-protocol.ts'
import type { Failure } from '../../contracts/errors.ts'
import type { InstanceId } from '../../contracts/ids.ts'
import type { Meter } from '../../contracts/metrics.ts'
import type { ModesInForce } from '../../contracts/modes.ts'
import type { Runtime } from '../../contracts/spec.ts'
import type { Done } from '../execute/execute.ts'
import type { Action, Facts, Note, RecoveryPolicy, Step } from '../model/plan.ts'
import type { InstanceRecord, JournalLine } from '../model/record.ts'
import { type Sight, withObject } from '../observe/look.ts'
import { CLOCK_SET_MS, shifted } from '../reconcile/clock-set.ts'
import { plan } from '../reconcile/plan.ts'
import { type Entry, faceOf, factsFor, holdsReservation, recoveryStageOf } from './entry.ts'
import type { Gate } from './gate.ts'
import { narrate } from './narrate.ts'

export interface StepperLimits {
  readonly stepsPerRunMax: number
  readonly diskRetryMs: number
  readonly outboxMax: number
}

export interface StepperDeps {
  readonly clock: Clock
  readonly random: Random
  readonly log: Logger
  readonly meter: Meter
  readonly limits: StepperLimits
  look(id: InstanceId, runtime: Runtime, signal: AbortSignal): Promise<Sight>
  execute(record: InstanceRecord, action: Action, signal: AbortSignal): Promise<Result<Done, Failure>>
  /** Appends to the instance's journal, creating its directory when needed. */
  journal(id: InstanceId, line: JournalLine): Promise<Result<void, Failure>>
  /** Removes the directory of a deleted instance. */
  removeFiles(id: InstanceId): Promise<Result<void, Failure>>
  policyFor(record: InstanceRecord): RecoveryPolicy
  modesFor(record: InstanceRecord): ModesInForce
  /** Its checks must pass before a start counts as verified. */
  gated(record: InstanceRecord): boolean
  readonly gate: Pick<Gate, 'turnOf' | 'isAt' | 'concluded'>
  /** Told of the transitions of each journalled change; must neither wait nor throw. */
  moved?(record: InstanceRecord, transitions: readonly Transition[]): void
  /** Told after each journalled change and each change of health; must not throw. */
  changed(entry: Entry): void
  adoptReservation(record: InstanceRecord): void
  releaseReservation(id: InstanceId): void
}

/** Steps taken but not yet on disk. */
interface Draft {
  readonly record: InstanceRecord
  readonly transitions: readonly Transition[]
  readonly notes: readonly { readonly note: Note; readonly record: InstanceRecord }[]
}

/** What one turn did. */
interface Pass {
  actions: number
  failures: number
}

const draftOf = (entry: Entry): Draft => ({ record: entry.record, transitions: [], notes: [] })

/** A wish came that the draft does not know yet. */
const newer = ({ wish }: Entry, { record }: Draft): boolean => wish !== null && wish.generation > record.desired.generation

const changesRuntime = ({ record, wish }: Entry): boolean =>
  wish !== null &&
  wish.generation > record.desired.generation &&
  record.incarnation > 0 &&
  wish.spec.runtime !== record.desired.spec.runtime

/** After a wait of this length what was seen before it says little. A shorter one, as in a storm, is not worth a question to the runtime. */
const SIGHT_OLD_MS = 5000

/** Its wait is over, and a long one: whoever came back meanwhile unheard must be neither doubled nor killed by the next attempt. */
const isDue = ({ record: { phase }, sight }: Entry, nowMs: number): boolean => {
  if (sight.kind === 'unknown' || nowMs - phase.sinceMs < SIGHT_OLD_MS) return false
  if (phase.kind === 'quarantined') return phase.untilMs <= nowMs
  return (phase.kind === 'recovering' || phase.kind === 'crash_looping') && phase.nextAttemptAtMs <= nowMs
}

/** All that a start depends on and that a restarted agent has to know is the same in both. */
const sameStart = (a: InstanceRecord, b: InstanceRecord): boolean =>
  a.incarnation === b.incarnation && a.nonce === b.nonce && a.startedSpec === b.startedSpec && a.hostPorts.join() === b.hostPorts.join()

/**
 * To stop what is wished away needs no disk: deleting is how people make room, so it must work when there is none. After a crash in just
 * this moment the next agent finds it as it was before, and starts nothing either before there is room.
 */
const leadsAway = ({ phase }: InstanceRecord): boolean =>
  phase.kind === 'stopped' || (phase.kind === 'stopping' && phase.towards !== 'restart')

export class Stepper {
  readonly #deps: StepperDeps
  readonly #closing: AbortController
  readonly #nudge: (id: InstanceId) => void
  readonly #forget: (id: InstanceId) => void
  #shuttingDown = false

  constructor(deps: StepperDeps, closing: AbortController, nudge: (id: InstanceId) => void, forget: (id: InstanceId) => void) {
    this.#deps = deps
    this.#closing = closing
    this.#nudge = nudge
    this.#forget = forget
  }

  /** From now on everything is wished stopped. */
  shutDown(): void {
    this.#shuttingDown = true
  }

  wake(entry: Entry, atMs: number | null): void {
    entry.cancelWake()
    entry.cancelWake =
      atMs === null
        ? () => {}
        : this.#deps.clock.after(Math.max(1, atMs - this.#deps.clock.wallMs()), () => this.#nudge(entry.record.desired.id))
  }

  /** Until it is quiet; an effect is waited for, and other instances get their turn meanwhile. A turn without an effect is no news. */
  async run(entry: Entry): Promise<void> {
    const { clock, log } = this.#deps
    const { id, name } = entry.record.desired
    const startedMs = clock.elapsedMs()
    const pass: Pass = { actions: 0, failures: 0 }
    try {
      await this.#turn(entry, pass)
    } finally {
      const durationMs = Math.round(clock.elapsedMs() - startedMs)
      // Blocked, it tries the same every few seconds, and nothing comes of it.
      if (pass.actions > 0)
        log[entry.trouble ? 'debug' : 'info']('reconciled', { vm_id: id, instance_id: id, name, ...pass, duration_ms: durationMs })
    }
  }

  async #turn(entry: Entry, pass: Pass): Promise<void> {
    const { id } = entry.record.desired
    let draft = draftOf(entry)
    for (let steps = 0; steps < this.#deps.limits.stepsPerRunMax; steps += 1) {
      if (this.#closing.signal.aborted) return
      if (entry.record.phase.kind === 'deleted' && entry.deletionStored) return this.#finish(entry)
      if (changesRuntime(entry) && !(await this.#leaveRuntime(entry))) return this.#retryLater(entry)
      draft = this.#followClock(entry, this.#mergeWish(entry, draft))
      if (steps === 0 && isDue(entry, this.#deps.clock.wallMs())) entry.look = true
      if (entry.look) await this.#look(entry)
      const next = plan(draft.record, this.#facts(entry, draft.record))
      entry.outcome = null
      this.#stand(entry, next)
      const moved = next.record.phase !== draft.record.phase
      draft = this.#advance(entry, draft, next)
      // A step that says when to be asked again has said its last word until then.
      const waits = next.wakeAtMs !== null && next.wakeAtMs > this.#deps.clock.wallMs()
      const quiet = (!moved || waits) && !entry.look && !newer(entry, draft)
      if (!next.action && !quiet) continue
      // Moves without an effect between them are one journal line: a restart costs two writes before its start, not four.
      const committed = this.#commit(entry, draft)
      // Preparing makes nothing that a restarted agent would have to find. A start waits only for its incarnation to be on disk, and
      // that is so since it was prepared.
      const ahead = next.action?.kind === 'prepare' || (next.action?.kind === 'start' && sameStart(entry.record, draft.record))
      if (!ahead && !(await committed)) return this.#retryLater(entry)
      if (!next.action) return entry.unwritten ? this.#retryLater(entry) : this.wake(entry, next.wakeAtMs)
      pass.actions += 1
      if (!(await this.#act(entry, draft.record, next.action))) pass.failures += 1
      if (!(await committed)) return this.#retryLater(entry)
      draft = draftOf(entry)
    }
    if (await this.#commit(entry, draft)) this.#nudge(id)
    else this.#retryLater(entry)
  }

  /** An end that the runtime tells meanwhile is newer than what this look brings, whatever that says. */
  async #look(entry: Entry): Promise<void> {
    const { id, spec } = entry.record.desired
    entry.look = false
    entry.epoch += 1
    const { epoch } = entry
    const sight = await this.#deps.look(id, spec.runtime, this.#closing.signal)
    if (entry.epoch === epoch) entry.sight = sight
    else entry.look = true
  }

  /** Nothing of it may stay in a runtime that nobody will ask again. False: not yet. */
  async #leaveRuntime(entry: Entry): Promise<boolean> {
    const { record } = entry
    const { id, spec } = record.desired
    const sight = await this.#deps.look(id, spec.runtime, this.#closing.signal)
    if (sight.kind === 'unknown') return false
    const ours = sight.objects.filter((object) => object.matches)
    for (const kind of ['stop', 'remove'] as const) {
      const objects = kind === 'stop' ? ours.filter(({ state }) => state === 'running' || state === 'paused') : ours
      if (objects.length > 0 && !(await this.#deps.execute(record, { kind, id, objects }, this.#closing.signal)).ok) return false
    }
    entry.look = true
    return true
  }

  /** The newest wish joins the draft; it becomes the entry's own only when journalled. */
  #mergeWish(entry: Entry, draft: Draft): Draft {
    const { wish } = entry
    if (!wish || wish.generation <= draft.record.desired.generation) return draft
    return { ...draft, record: { ...draft.record, desired: wish } }
  }

  /** The wall clock was set: what is counted goes on being counted. */
  #followClock(entry: Entry, draft: Draft): Draft {
    const { clock } = this.#deps
    const offsetMs = Math.round(clock.wallMs() - clock.elapsedMs())
    const byMs = offsetMs - (entry.clockOffsetMs ?? offsetMs)
    if (entry.clockOffsetMs !== null && Math.abs(byMs) < CLOCK_SET_MS) return draft
    entry.clockOffsetMs = offsetMs
    return byMs === 0 ? draft : { ...draft, record: shifted(draft.record, byMs) }
  }

  #advance({ seqFloor }: Entry, draft: Draft, next: Step): Draft {
    const notes = [...draft.notes, ...next.notes.map((note) => ({ note, record: next.record }))]
    const before = draft.record
    if (next.record.phase === before.phase) return { ...draft, record: next.record, notes }
    const record: InstanceRecord = { ...next.record, seq: Math.max(before.seq, seqFloor) + 1 }
    const exit = 'exit' in record.phase ? record.phase.exit : record.lastExit
    const transition: Transition = {
      seq: record.seq,
      atMs: this.#deps.clock.wallMs(),
      from: before.phase.kind,
      to: record.phase,
      incarnation: record.incarnation,
      exit,
    }
    this.#deps.log.debug('state changed', {
      instance_id: record.desired.id,
      from: before.phase.kind,
      to: record.phase.kind,
      reason: record.phase.reason,
      because: next.because,
    })
    return { record, transitions: [...draft.transitions, transition], notes }
  }

  #facts(entry: Entry, record: InstanceRecord): Facts {
    const { clock, random } = this.#deps
    entry.modes = this.#deps.modesFor(record)
    return factsFor(entry, {
      nowMs: clock.wallMs(),
      gated: this.#deps.gated(record),
      policy: this.#deps.policyFor(record),
      turn: this.#deps.gate.turnOf(record.desired.id),
      fraction: random.fraction(),
      freshNonce: random.text(20),
      shutdown: this.#shuttingDown,
      disowned: entry.disowned,
    })
  }

  /** False when the disk refused: then nothing of the draft has happened. */
  async #commit(entry: Entry, draft: Draft): Promise<boolean> {
    const { record, transitions } = draft
    if (record === entry.record && !entry.unwritten) {
      // Nothing is left to be written down: what the disk refused is not wanted any more.
      entry.trouble = null
      // An adopted instance whose state needs no change is heard of here for the first time: its checks begin with that.
      if (faceOf(entry) !== entry.face) this.#tell(entry)
      // Answered: nothing was to be done. The next event is not to be timed from this one.
      if (!entry.look) entry.eventAtMs = null
      return true
    }
    const written = await this.#deps.journal(record.desired.id, { record, transitions: [...transitions] })
    if (!written.ok) {
      if (entry.trouble?.code !== written.error.code) {
        this.#deps.meter.count('errors_total', { code: written.error.code })
        this.#deps.log.error('instance journal refused', {
          instance_id: record.desired.id,
          error_code: written.error.code,
          error: written.error.detail,
        })
      }
      entry.trouble = written.error
      if (!leadsAway(record)) {
        this.#tell(entry)
        return false
      }
      entry.unwritten = true
    } else {
      entry.trouble = null
      entry.unwritten = false
    }
    const held = holdsReservation(entry.record)
    entry.record = record
    if (transitions.length > 0) this.#deps.moved?.(record, transitions)
    entry.outbox = [...entry.outbox, ...transitions].slice(-this.#deps.limits.outboxMax)
    const detectionMs = entry.eventAtMs === null ? null : this.#deps.clock.elapsedMs() - entry.eventAtMs
    entry.eventAtMs = null
    const voice = {
      log: this.#deps.log,
      meter: this.#deps.meter,
      maxRetries: this.#deps.policyFor(record).maxRetries,
      nowMs: this.#deps.clock.wallMs(),
      detectionMs,
    }
    for (const { note, record: at } of draft.notes) narrate(note, at, voice)
    if (holdsReservation(record)) {
      // Found running without having been prepared.
      if (!held) this.#deps.adoptReservation(record)
    } else if (record.phase.kind !== 'preparing') this.#deps.releaseReservation(record.desired.id)
    this.#tell(entry)
    return true
  }

  /** Before the step is on disk: a turn is taken when it is given, or two would take it; and a failure counts before the next turn is given. */
  #stand(entry: Entry, { record, waitsFor, notes }: Step): void {
    const { id, orgId } = record.desired
    for (const note of notes) {
      if (note.kind === 'attempt_failed') this.#deps.gate.concluded(id, false)
      else if (note.kind === 'episode_ended' && note.outcome === 'success') this.#deps.gate.concluded(id, true)
    }
    entry.waitsFor = waitsFor
    this.#deps.gate.isAt(id, orgId, recoveryStageOf({ record, waitsFor }))
  }

  #tell(entry: Entry): void {
    entry.face = faceOf(entry)
    this.#deps.changed(entry)
  }

  #retryLater(entry: Entry): void {
    this.wake(entry, this.#deps.clock.wallMs() + this.#deps.limits.diskRetryMs)
  }

  async #act(entry: Entry, record: InstanceRecord, action: Action): Promise<boolean> {
    const controller = new AbortController()
    entry.epoch += 1
    entry.abort = controller
    entry.actionUnderWay = action.kind === 'prepare' || action.kind === 'start' ? action.kind : 'other'
    try {
      const result = await this.#deps.execute(record, action, AbortSignal.any([controller.signal, this.#closing.signal]))
      if (result.ok) {
        entry.outcome = { action: action.kind, ok: true, ...(result.value.hostPorts && { hostPorts: result.value.hostPorts }) }
        const { seen } = result.value
        if (seen) entry.sight = withObject(entry.sight, seen)
        else if (action.kind !== 'prepare') entry.look = true
      } else {
        entry.outcome = { action: action.kind, ok: false, failure: result.error }
        entry.look = action.kind !== 'prepare'
      }
      return result.ok
    } finally {
      entry.epoch += 1
      entry.abort = null
      entry.actionUnderWay = null
    }
  }

  async #finish(entry: Entry): Promise<void> {
    const { id } = entry.record.desired
    const removed = await this.#deps.removeFiles(id)
    if (!removed.ok) {
      this.#deps.log.error('instance directory not removed', {
        instance_id: id,
        error_code: removed.error.code,
        error: removed.error.detail,
      })
      return this.wake(entry, this.#deps.clock.wallMs() + this.#deps.limits.diskRetryMs)
    }
    entry.cancelWake()
    this.#deps.gate.isAt(id, entry.record.desired.orgId, 'away')
    this.#forget(id)
  }
}
