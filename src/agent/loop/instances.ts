// The reconcile loop of the agent. It owns the map of instances; every change of one happens inside `run`, which the keyed queue
// calls for one instance at a time. Around it: wishes from the link, events from drivers, results of checks, timers; each of them
// only leaves a fact behind and nudges.
//
// Invariants: a record is journalled before its step has any effect and before anybody hears of it; a wish older than the one
// known is ignored; an effect of an older wish is aborted when the newer one contradicts it; an instance the control plane does
// not know is left alone.
import type { Clock, Random } from '../../base/clock.ts'
import { keyedQueue } from '../../base/keyed-queue.ts'
import type { Logger } from '../../base/log.ts'
import type { Result } from '../../base/result.ts'
import type { Desired, Observed, Transition } from '../../contracts/agent-protocol.ts'
import type { Failure } from '../../contracts/errors.ts'
import type { InstanceId } from '../../contracts/ids.ts'
import type { Meter } from '../../contracts/metrics.ts'
import type { Exit } from '../../contracts/phase.ts'
import type { Runtime } from '../../contracts/spec.ts'
import type { Done } from '../execute/execute.ts'
import type { LIMITS } from '../limits.ts'
import type { Action, Note, RecoveryPolicy, Step } from '../model/plan.ts'
import { type InstanceRecord, type JournalLine, newRecord } from '../model/record.ts'
import type { Sight } from '../observe/look.ts'
import { plan } from '../reconcile/plan.ts'
import { type Entry, factsFor, holdsReservation, newEntry, observedOf } from './entry.ts'
import { narrate } from './narrate.ts'

export interface InstancesDeps {
  readonly clock: Clock
  readonly random: Random
  readonly log: Logger
  readonly meter: Meter
  readonly limits: typeof LIMITS
  look(id: InstanceId, runtime: Runtime, signal: AbortSignal): Promise<Sight>
  execute(record: InstanceRecord, action: Action, signal: AbortSignal): Promise<Result<Done, Failure>>
  /** Appends to the instance's journal, creating its directory when needed. */
  journal(id: InstanceId, line: JournalLine): Promise<Result<void, Failure>>
  /** Removes the directory of a deleted instance. */
  removeFiles(id: InstanceId): Promise<Result<void, Failure>>
  policyFor(record: InstanceRecord): RecoveryPolicy
  /** Its checks must pass before a start counts as verified. */
  gated(record: InstanceRecord): boolean
  /** Told after each journalled change and each change of health; must not throw. */
  changed(entry: Entry): void
  adoptReservation(record: InstanceRecord): void
  releaseReservation(id: InstanceId): void
}

export interface Instances {
  readonly entries: ReadonlyMap<InstanceId, Entry>
  adopt(lines: readonly { readonly last: JournalLine; readonly transitions: readonly Transition[] }[]): void
  setDesired(items: readonly Desired[]): void
  /** Something may have happened to it: look and plan. */
  lookAgain(id: InstanceId): void
  /** The runtime itself said that this object has ended: plan at once, without asking it again. */
  ended(id: InstanceId, end: { readonly incarnation: number; readonly nonce: string; readonly exit: Exit }): void
  /** What a listing says; `epoch` is the entry's when the listing began, and a listing older than the last look or effect is dropped. */
  setSight(id: InstanceId, sight: Sight, epoch: number): void
  nudge(id: InstanceId): void
  acked(id: InstanceId, seq: number): void
  observed(id: InstanceId): Observed | undefined
  /** Wish everything stopped, whatever the control plane says, and wait until nothing runs. */
  shutdown(signal: AbortSignal): Promise<void>
  close(): Promise<void>
}

/** Steps taken but not yet on disk. */
interface Draft {
  readonly record: InstanceRecord
  readonly transitions: readonly Transition[]
  readonly notes: readonly { readonly note: Note; readonly record: InstanceRecord }[]
}

export function createInstances(deps: InstancesDeps): Instances {
  const entries = new Map<InstanceId, Entry>()
  let shuttingDown = false
  const closing = new AbortController()
  const queue = keyedQueue<InstanceId>({
    run: (id) => run(id),
    onError: (id, error) => {
      deps.log.error('reconcile failed', {
        instance_id: id,
        error: error instanceof Error ? (error.stack ?? error.message) : String(error),
      })
      // A bug in one step must not leave the instance unattended; it is asked again, slowly.
      const entry = entries.get(id)
      if (entry && !closing.signal.aborted) wake(entry, deps.clock.wallMs() + deps.limits.diskRetryMs)
    },
    concurrencyMax: deps.limits.plansMax,
  })

  const wake = (entry: Entry, atMs: number | null) => {
    entry.cancelWake()
    entry.cancelWake =
      atMs === null ? () => {} : deps.clock.after(Math.max(1, atMs - deps.clock.wallMs()), () => queue.nudge(entry.record.desired.id))
  }

  async function run(id: InstanceId): Promise<void> {
    const entry = entries.get(id)
    if (!entry) return
    let draft = draftOf(entry)
    for (let steps = 0; steps < deps.limits.stepsPerRunMax; steps += 1) {
      if (closing.signal.aborted) return
      if (entry.record.phase.kind === 'deleted' && entry.deletionStored) return finish(entry)
      draft = mergeWish(entry, draft)
      if (entry.look) {
        entry.look = false
        entry.epoch += 1
        entry.sight = await deps.look(id, entry.record.desired.spec.runtime, closing.signal)
      }
      const next = plan(draft.record, facts(entry, draft.record))
      entry.outcome = null
      const moved = next.record.phase !== draft.record.phase
      draft = advance(draft, next)
      // A step that says when to be asked again has said its last word until then.
      const waits = next.wakeAtMs !== null && next.wakeAtMs > deps.clock.wallMs()
      const quiet = (!moved || waits) && !entry.look && !newer(entry)
      if (!next.action && !quiet) continue
      // Moves without an effect between them are one journal line: a restart costs two writes before its start, not four.
      if (!(await commit(entry, draft))) return wake(entry, deps.clock.wallMs() + deps.limits.diskRetryMs)
      if (!next.action) return wake(entry, next.wakeAtMs)
      await act(entry, next.action)
      draft = draftOf(entry)
    }
    await commit(entry, draft)
    queue.nudge(id)
  }

  const newer = (entry: Entry) => entry.wish !== null && entry.wish.generation > entry.record.desired.generation

  const draftOf = (entry: Entry): Draft => ({ record: entry.record, transitions: [], notes: [] })

  /** The newest wish joins the draft; it becomes the entry's own only when journalled. */
  function mergeWish(entry: Entry, draft: Draft): Draft {
    const { wish } = entry
    if (!wish || wish.generation <= draft.record.desired.generation) return draft
    return { ...draft, record: { ...draft.record, desired: wish } }
  }

  function advance(draft: Draft, next: Step): Draft {
    const notes = [...draft.notes, ...next.notes.map((note) => ({ note, record: next.record }))]
    const before = draft.record
    if (next.record.phase === before.phase) return { ...draft, record: next.record, notes }
    const record: InstanceRecord = { ...next.record, seq: before.seq + 1 }
    const exit = 'exit' in record.phase ? record.phase.exit : record.lastExit
    const transition: Transition = {
      seq: record.seq,
      atMs: deps.clock.wallMs(),
      from: before.phase.kind,
      to: record.phase,
      incarnation: record.incarnation,
      exit,
    }
    deps.log.debug('state changed', {
      instance_id: record.desired.id,
      from: before.phase.kind,
      to: record.phase.kind,
      reason: record.phase.reason,
      because: next.because,
    })
    return { record, transitions: [...draft.transitions, transition], notes }
  }

  const facts = (entry: Entry, record: InstanceRecord) =>
    factsFor(entry, {
      nowMs: deps.clock.wallMs(),
      gated: deps.gated(record),
      policy: deps.policyFor(record),
      fraction: deps.random.fraction(),
      freshNonce: deps.random.text(20),
      shutdown: shuttingDown,
    })

  /** False when the disk refused: then nothing of the draft has happened. */
  async function commit(entry: Entry, draft: Draft): Promise<boolean> {
    const { record, transitions } = draft
    if (record === entry.record) return true
    const written = await deps.journal(record.desired.id, { record, transitions: [...transitions] })
    if (!written.ok) {
      if (entry.trouble?.code !== written.error.code)
        deps.log.error('instance journal refused', {
          instance_id: record.desired.id,
          error_code: written.error.code,
          error: written.error.detail,
        })
      entry.trouble = written.error
      deps.changed(entry)
      return false
    }
    entry.trouble = null
    entry.record = record
    entry.outbox = [...entry.outbox, ...transitions].slice(-deps.limits.outboxMax)
    const detectionMs = entry.eventAtMs === null ? null : deps.clock.elapsedMs() - entry.eventAtMs
    entry.eventAtMs = null
    const voice = {
      log: deps.log,
      meter: deps.meter,
      maxRetries: deps.policyFor(record).maxRetries,
      nowMs: deps.clock.wallMs(),
      detectionMs,
    }
    for (const { note, record: at } of draft.notes) narrate(note, at, voice)
    if (!holdsReservation(record) && record.phase.kind !== 'preparing') deps.releaseReservation(record.desired.id)
    deps.changed(entry)
    return true
  }

  async function act(entry: Entry, action: Action): Promise<void> {
    const controller = new AbortController()
    entry.epoch += 1
    entry.abort = controller
    entry.actionUnderWay = action.kind === 'prepare' || action.kind === 'start' ? action.kind : 'other'
    try {
      const result = await deps.execute(entry.record, action, AbortSignal.any([controller.signal, closing.signal]))
      if (result.ok) {
        entry.outcome = { action: action.kind, ok: true, ...(result.value.hostPorts && { hostPorts: result.value.hostPorts }) }
        const { seen } = result.value
        if (seen)
          entry.sight = {
            kind: 'known',
            objects: [
              ...(entry.sight.kind === 'known' ? entry.sight.objects.filter((object) => object.incarnation !== seen.incarnation) : []),
              seen,
            ],
          }
        else if (action.kind !== 'prepare') entry.look = true
      } else {
        entry.outcome = { action: action.kind, ok: false, failure: result.error }
        entry.look = action.kind !== 'prepare'
      }
    } finally {
      entry.epoch += 1
      entry.abort = null
      entry.actionUnderWay = null
    }
  }

  async function finish(entry: Entry): Promise<void> {
    const { id } = entry.record.desired
    const removed = await deps.removeFiles(id)
    if (!removed.ok) {
      deps.log.error('instance directory not removed', { instance_id: id, error_code: removed.error.code, error: removed.error.detail })
      return wake(entry, deps.clock.wallMs() + deps.limits.diskRetryMs)
    }
    entry.cancelWake()
    entries.delete(id)
  }

  /** A start that the newer wish contradicts is aborted; everything else is let finish. */
  const contradicts = (entry: Entry, wish: Desired) =>
    entry.actionUnderWay !== null &&
    entry.actionUnderWay !== 'other' &&
    (wish.want === 'stopped' || wish.want === 'deleted' || wish.restartSeq > entry.record.acted.restartSeq)

  return {
    entries,
    adopt(lines) {
      for (const { last, transitions } of lines) {
        const entry = newEntry(last.record, transitions.slice(-deps.limits.outboxMax))
        entries.set(last.record.desired.id, entry)
        if (holdsReservation(last.record)) deps.adoptReservation(last.record)
      }
    },
    setDesired(items) {
      for (const item of items) {
        const entry = entries.get(item.id)
        if (!entry) {
          entries.set(item.id, newEntry(newRecord(item, deps.clock.wallMs()), []))
        } else if (item.generation > entry.record.desired.generation && item.generation > (entry.wish?.generation ?? 0)) {
          entry.wish = item
          if (contradicts(entry, item)) entry.abort?.abort(new Error('a newer wish replaced it'))
        } else continue
        queue.nudge(item.id)
      }
    },
    lookAgain(id) {
      const entry = entries.get(id)
      if (!entry) return
      entry.look = true
      entry.eventAtMs ??= deps.clock.elapsedMs()
      queue.nudge(id)
    },
    ended(id, { incarnation, nonce, exit }) {
      const entry = entries.get(id)
      if (!entry) return
      const known = entry.sight.kind === 'known' && !entry.look ? entry.sight.objects : []
      if (entry.actionUnderWay === null && known.some((object) => object.incarnation === incarnation && object.nonce === nonce)) {
        entry.epoch += 1
        const objects = known.map((object) =>
          object.incarnation === incarnation ? { ...object, state: 'dead' as const, pid: null, exit } : object,
        )
        entry.sight = { kind: 'known', objects }
      } else entry.look = true
      entry.eventAtMs ??= deps.clock.elapsedMs()
      queue.nudge(id)
    },
    setSight(id, sight, epoch) {
      const entry = entries.get(id)
      if (!entry || entry.epoch !== epoch) return
      entry.sight = sight
      entry.look = false
      queue.nudge(id)
    },
    nudge: (id) => queue.nudge(id),
    acked(id, seq) {
      const entry = entries.get(id)
      if (!entry) return
      entry.outbox = entry.outbox.filter((transition) => transition.seq > seq)
      if (entry.record.phase.kind === 'deleted' && seq >= entry.record.seq) {
        entry.deletionStored = true
        queue.nudge(id)
      }
    },
    observed: (id) => {
      const entry = entries.get(id)
      return entry && observedOf(entry)
    },
    async shutdown(signal) {
      shuttingDown = true
      for (const [id, entry] of entries) {
        entry.abort?.abort(new Error('the node is shutting down'))
        queue.nudge(id)
      }
      const resting = () =>
        [...entries.values()].every((entry) => entry.record.phase.kind === 'stopped' || entry.record.phase.kind === 'deleted')
      while (!resting()) await deps.clock.sleep(20, signal)
    },
    async close() {
      closing.abort(new Error('the agent is closing'))
      for (const entry of entries.values()) entry.cancelWake()
      await queue.close()
    },
  }
}
