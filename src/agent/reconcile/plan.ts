// plan(record, facts) -> one small step: the next record, at most one action, and when to ask again.
//
// Pure and total: it may be asked at any time, any number of times, and answers the same. Order comes from observing again, not from
// scripts: a start is asked for until the runtime shows the object, a stop until it shows none. The rules it keeps:
//  - what is wished stopped or deleted is never started, and its episode is cancelled at once;
//  - an object of an older incarnation is gone before a new one starts, so at most one lives;
//  - `unknown` (the runtime did not answer) changes nothing;
//  - a living workload is not stopped by us unless somebody asked, its spec changed, or allow_data_loss permits it.
import { failure } from '../../contracts/errors.ts'
import type { LastError, PhaseKind } from '../../contracts/phase.ts'
import type { Facts, Note, SeenObject, Step } from '../model/plan.ts'
import type { InstanceRecord } from '../model/record.ts'
import { planGone } from './gone.ts'
import {
  beginAttempt,
  closeAttempt,
  common,
  currentObject,
  endEpisode,
  isSwitchedOff,
  lastError,
  move,
  newEpisode,
  RETRY_EFFECT_MS,
  specChanged,
  step,
  stopLiving,
  tooEarly,
  wishOf,
  withError,
} from './moves.ts'
import { forced, lostBy, startFailed, takenUp, unfit } from './recover.ts'
import { planRunning } from './running.ts'

export function plan(record: InstanceRecord, facts: Facts): Step {
  const { want } = record.desired
  if (want === 'deleted' || facts.disowned) return planGone(record, facts, 'deleted')
  if (want === 'stopped') return planGone(record, facts, 'stopped')
  return facts.shutdown ? planShutdown(record, facts) : planUp(record, facts)
}

/** Nothing of these runs. They stay as they are over a shutdown: a one-shot that has ended is not run again by the next start of the node. */
const ENDED: ReadonlySet<PhaseKind> = new Set(['completed', 'failed', 'quarantined'])

export const isShutDown = ({ phase: { kind } }: Pick<InstanceRecord, 'phase'>): boolean =>
  kind === 'stopped' || kind === 'deleted' || ENDED.has(kind)

function planShutdown(record: InstanceRecord, facts: Facts): Step {
  const lives = facts.seen.kind === 'known' && facts.seen.objects.some((object) => object.matches && isAlive(object))
  return ENDED.has(record.phase.kind) && !lives
    ? step(record, 'the node shuts down; nothing of it runs')
    : planGone(record, facts, 'stopped')
}

const isAlive = ({ state }: SeenObject): boolean => state === 'running' || state === 'paused'

function planUp(record: InstanceRecord, facts: Facts): Step {
  const { phase } = record
  switch (phase.kind) {
    case 'pending':
    case 'placed':
    case 'lost':
      return beginAttempt(record, facts, 'requested', true)
    case 'stopped':
      return record.desired.want === 'paused'
        ? step(record, 'stopped, and wished paused: it has to be started first')
        : beginAttempt(record, facts, 'requested', true)
    case 'completed':
    case 'failed':
      return planEnded(record, facts)
    case 'preparing':
      return planPreparing(record, facts)
    case 'starting':
      return planStarting(record, facts)
    case 'running':
    case 'degraded':
    case 'paused':
      return planRunning(record, facts)
    case 'stopping':
      return planStopping(record, facts)
    case 'recovering':
    case 'crash_looping':
      return planWaiting(record, facts, phase.nextAttemptAtMs)
    case 'quarantined':
      return planQuarantined(record, facts, phase.untilMs)
    case 'deleted':
      return step(record, 'deleted is the end')
    default:
      return phase satisfies never
  }
}

/** Completed and failed rest until somebody wishes something new. The healer's wish counts for failed only. */
function planEnded(record: InstanceRecord, facts: Facts): Step {
  const { desired, acted, attemptGeneration, phase } = record
  const healed = desired.healSeq > acted.healSeq
  const asked = desired.restartSeq > acted.restartSeq || desired.recoverSeq > acted.recoverSeq
  const isOff = phase.kind === 'failed' && phase.reason === 'recovery_off'
  if (isOff && facts.policy.mode === 'on' && !asked && !specChanged(record)) return selfRecovered(record, facts) ?? takenUp(record, facts)
  if (wishOf(desired) <= attemptGeneration) return selfRecovered(record, facts) ?? replaced(record, facts) ?? step(record, 'at rest')
  if (healed && !asked && !specChanged(record)) {
    if (record.phase.kind === 'failed') return beginAttempt(record, facts, 'healer', false)
    return step({ ...record, acted: { ...acted, healSeq: desired.healSeq } }, 'nothing to heal')
  }
  return desired.recoverSeq > acted.recoverSeq ? forced(record, facts) : beginAttempt(record, facts, 'requested', true)
}

/** How long a start is left alone that failed before it could replace what an earlier life left running. */
const REPLACE_AGAIN_MS = 30_000

/**
 * Its start failed before what runs of a life without a journal was stopped for it: the runtime was away, and nobody heals what recovery
 * leaves alone or what is wished paused. Failed means that nothing of it runs, so the start is made again.
 */
function replaced(record: InstanceRecord, facts: Facts): Step | undefined {
  const { phase } = record
  if (phase.kind !== 'failed' || facts.seen.kind === 'unknown' || olderAlive(record, facts.seen.objects).length === 0) return undefined
  const dueMs = phase.sinceMs + REPLACE_AGAIN_MS
  if (tooEarly(phase.sinceMs, dueMs, facts.nowMs)) return step(record, 'an earlier life of it runs', { wakeAtMs: dueMs })
  return beginAttempt(record, facts, 'requested', true)
}

/** Recovery was switched off in the middle of an automatic attempt, and nothing of it lives. */
function letGo(record: InstanceRecord, facts: Facts): Step {
  const { record: closed, notes } = endEpisode(record, facts, 'cancelled')
  return step(move(closed, { kind: 'failed', ...common(closed, facts, 'recovery_off') }), `recovery is now ${facts.policy.mode}`, { notes })
}

function planPreparing(record: InstanceRecord, facts: Facts): Step {
  const { outcome } = facts
  if (isOvertaken(record)) return beginAnew(record, facts)
  if (isSwitchedOff(record, facts)) return letGo(record, facts)
  if (outcome?.action === 'prepare') {
    if (!outcome.ok) return outcome.failure.code === 'cancelled' ? step(record, 'cancelled') : startFailed(record, facts, outcome.failure)
    // A recovery asked for meanwhile is this start.
    const acted = { ...record.acted, recoverSeq: record.desired.recoverSeq }
    const ready = { ...record, acted, hostPorts: [...(outcome.hostPorts ?? record.hostPorts)] }
    const { notes, error } = changedPorts(record.hostPorts, ready.hostPorts, facts.nowMs)
    return step(move(ready, { kind: 'starting', ...common(ready, facts, record.phase.reason, error) }), 'prepared', { notes })
  }
  const vacant = facts.seen.kind === 'known' && !facts.seen.objects.some((object) => object.matches && isAlive(object))
  return step(record, 'prepare', { action: { kind: 'prepare', id: record.desired.id, vacant } })
}

/** Its address is another one from now on, which whoever knows the old one should hear. */
function changedPorts(
  before: readonly number[],
  now: readonly number[],
  nowMs: number,
): { readonly notes: readonly Note[]; readonly error?: LastError } {
  if (before.length !== now.length) return { notes: [] }
  const notes = now.flatMap((port, index) => {
    const was = before[index] ?? port
    return was === port || was === 0 ? [] : [{ kind: 'port_changed' as const, was, port }]
  })
  if (notes.length === 0) return { notes }
  const how = notes.map(({ was, port }) => `Port ${was} was taken by somebody else while nothing of it ran; it has port ${port} now.`)
  const fields = { port: notes[0]?.port ?? 0, was: notes[0]?.was ?? 0 }
  return { notes, error: lastError(failure('port_in_use', how.join(' '), fields), nowMs) }
}

/** What was prepared or is being started is not what is wished by now. */
const isOvertaken = (record: InstanceRecord): boolean => specChanged(record) || record.desired.restartSeq > record.acted.restartSeq

/** A start by wish, from zero: the episode that it overtakes is cancelled. */
function beginAnew(record: InstanceRecord, facts: Facts): Step {
  const { record: closed, notes } = endEpisode(record, facts, 'cancelled')
  const begun = beginAttempt(closed, facts, 'requested', true)
  return { ...begun, notes: [...notes, ...begun.notes] }
}

function planStarting(record: InstanceRecord, facts: Facts): Step {
  const { outcome, seen } = facts
  if (isOvertaken(record)) return beginAnew(record, facts)
  if (outcome?.action === 'start' && !outcome.ok && outcome.failure.code !== 'cancelled') return startFailed(record, facts, outcome.failure)
  if (outcome?.action === 'stop' && !outcome.ok)
    return step(withError(record, outcome.failure, facts.nowMs), 'an older incarnation does not stop', {
      wakeAtMs: facts.nowMs + RETRY_EFFECT_MS,
    })
  if (seen.kind === 'unknown') return step(record, 'the runtime does not answer', { wakeAtMs: facts.nowMs + RETRY_EFFECT_MS })
  const alive = olderAlive(record, seen.objects)
  if (alive.length > 0) return stopLiving(record, facts, alive, 'an older incarnation still lives')
  const current = currentObject(record, seen.objects)
  if (isSwitchedOff(record, facts) && (!current || current.state === 'created')) return letGo(record, facts)
  if (!current && seen.objects.some((object) => object.incarnation >= record.incarnation))
    return beginAttempt(record, facts, record.phase.reason, record.episode === null)
  // A process that ended at once is a crash, not a failed start: it did run.
  if (!current || current.state === 'created') return step(record, 'start', { action: { kind: 'start', id: record.desired.id } })
  // What an engine chose is asked for again at the next start.
  const hostPorts = record.desired.spec.ports.map(({ name }, index) => current.ports?.[name] ?? record.hostPorts[index] ?? 0)
  const { notes, error } = changedPorts(record.hostPorts, hostPorts, facts.nowMs)
  const started = { ...record, hostPorts, startedAtMs: current.startedAtMs ?? facts.nowMs }
  const durationMs = facts.nowMs - (record.attempts.at(-1)?.startedAtMs ?? facts.nowMs)
  return step(
    move(started, { kind: 'running', ...common(started, facts, facts.verdict.gated ? 'waiting_for_checks' : 'started', error) }),
    'it runs',
    { notes: [...notes, { kind: 'applied', durationMs }] },
  )
}

export const olderAlive = (record: InstanceRecord, objects: readonly SeenObject[]): readonly SeenObject[] =>
  objects.filter((object) => object !== currentObject(record, objects) && object.matches && isAlive(object))

/** Stopping in order to start again, or a stop that a newer wish overtook: finish it, then go on. */
function planStopping(record: InstanceRecord, facts: Facts): Step {
  const { outcome, seen } = facts
  if (record.phase.kind !== 'stopping') return step(record, 'not stopping')
  if (outcome?.action === 'stop' && !outcome.ok)
    return step(withError(record, outcome.failure, facts.nowMs), 'the stop failed', {
      wakeAtMs: facts.nowMs + RETRY_EFFECT_MS,
      notes: [{ kind: 'error', code: outcome.failure.code }],
    })
  if (seen.kind === 'unknown') return step(record, 'the runtime does not answer', { wakeAtMs: facts.nowMs + RETRY_EFFECT_MS })
  const alive = seen.objects.filter((object) => object.matches && (object.state === 'running' || object.state === 'paused'))
  if (alive.length > 0) return stopLiving(record, facts, alive, 'something of it lives')
  const exit = currentObject(record, seen.objects)?.exit ?? record.lastExit
  const gone = { ...record, lastExit: exit }
  const { reason } = record.phase
  if (reason === 'unhealthy_restart')
    return unfit(gone, facts, failure('health_check_failed', record.phase.lastError?.detail ?? 'Its checks failed.'), true)
  if (reason === 'start_failed')
    return unfit(gone, facts, failure('not_verified', record.phase.lastError?.detail ?? 'Its start checks failed.'), false)
  const { record: closed, notes } = endEpisode(gone, facts, 'cancelled')
  const begun = beginAttempt(closed, facts, reason, true)
  return { ...begun, notes: [...notes, ...begun.notes] }
}

/** Recovering or crash looping: wait for the due time, unless somebody asks for it now or it came back by itself. */
function planWaiting(record: InstanceRecord, facts: Facts, dueMs: number): Step {
  const { desired, acted } = record
  if (desired.recoverSeq > acted.recoverSeq) return forced(record, facts)
  if (isOvertaken(record)) return beginAnew(record, facts)
  if (facts.seen.kind === 'unknown') return step(record, 'the runtime does not answer', { wakeAtMs: facts.nowMs + RETRY_EFFECT_MS })
  const back = selfRecovered(record, facts)
  if (back) return back
  if (facts.policy.mode !== 'on') return letGo(record, facts)
  if (tooEarly(record.phase.sinceMs, dueMs, facts.nowMs)) return step(record, 'waiting for the next attempt', { wakeAtMs: dueMs })
  return beginInTurn(record, facts)
}

/** It runs after all: the answer to its start was lost, or somebody else started it. */
function selfRecovered(record: InstanceRecord, facts: Facts): Step | undefined {
  const current = facts.seen.kind === 'known' ? currentObject(record, facts.seen.objects) : undefined
  if (!current?.matches || current.state !== 'running') return undefined
  const { record: closed, notes } = endEpisode(record, facts, 'self_recovered')
  const back = { ...closed, startedAtMs: current.startedAtMs ?? facts.nowMs, verified: false }
  return step(move(back, { kind: 'running', ...common(back, facts, 'self_recovered') }), 'it runs again by itself', { notes })
}

/** An automatic attempt waits for its turn; that time is not its own. */
function beginInTurn(record: InstanceRecord, facts: Facts): Step {
  const { turn } = facts
  if (turn.kind !== 'granted') return step(record, `due, and waits for its turn: ${turn.kind}`, { waitsFor: turn })
  const episode = record.episode && { ...record.episode, queuedMs: record.episode.queuedMs + turn.waitedMs }
  return beginAttempt({ ...record, episode }, facts, record.phase.reason, false)
}

/** Quarantine is lifted by hand, by a new spec, or by its cooldown, which permits one trial start. The healer does not lift it. */
function planQuarantined(record: InstanceRecord, facts: Facts, untilMs: number): Step {
  const { desired, acted } = record
  if (desired.recoverSeq > acted.recoverSeq) return forced(record, facts)
  if (desired.restartSeq > acted.restartSeq || specChanged(record)) return beginAttempt(record, facts, 'requested', true)
  if (desired.healSeq > acted.healSeq)
    return step({ ...record, acted: { ...acted, healSeq: desired.healSeq } }, 'a quarantine is not lifted by the healer', {
      wakeAtMs: untilMs,
    })
  const early = tooEarly(record.phase.sinceMs, untilMs, facts.nowMs)
  if (facts.policy.mode !== 'on' || early) return step(record, 'quarantined', { wakeAtMs: early ? untilMs : null })
  const trial: InstanceRecord = {
    ...closeAttempt(record, 'cancelled', facts.nowMs),
    failures: Math.max(record.failures, facts.policy.maxRetries),
    episode: newEpisode(lostBy(record), record.startedAtMs ?? facts.nowMs, facts.nowMs),
  }
  if (facts.turn.kind !== 'granted') return step(record, 'cooled down, and waits for its turn', { waitsFor: facts.turn })
  return beginInTurn(trial, facts)
}
