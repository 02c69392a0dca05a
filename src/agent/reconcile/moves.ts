// Small builders the planner is made of: each takes a record and gives the next one. No clock, no randomness.

import { fingerprint } from '../../base/hash.ts'
import type { Desired } from '../../contracts/agent-protocol.ts'
import type { Failure } from '../../contracts/errors.ts'
import type { Attempt, Exit, LastError, Phase, Reason, Trigger } from '../../contracts/phase.ts'
import type { Action, Facts, Note, SeenObject, Step } from '../model/plan.ts'
import { ATTEMPTS_KEPT, type Episode, type InstanceRecord } from '../model/record.ts'

export const step = (
  record: InstanceRecord,
  because: string,
  rest: { action?: Action | null; wakeAtMs?: number | null; notes?: readonly Note[]; waitsFor?: Step['waitsFor'] } = {},
): Step => ({
  record,
  because,
  action: rest.action ?? null,
  wakeAtMs: rest.wakeAtMs ?? null,
  notes: rest.notes ?? [],
  waitsFor: rest.waitsFor ?? null,
})

/** How long to wait before an effect that failed, or changed nothing, is tried again. */
export const RETRY_EFFECT_MS = 5000

/** Stops what lives. A stop that was said to be done while something lives all the same is not repeated at once: that would be a loop without an end. */
export function stopLiving(record: InstanceRecord, { outcome, nowMs }: Facts, objects: readonly SeenObject[], because: string): Step {
  if (outcome?.action === 'stop' && outcome.ok)
    return step(record, `${because}, although it was stopped`, { wakeAtMs: nowMs + RETRY_EFFECT_MS })
  return step(record, because, { action: { kind: 'stop', id: record.desired.id, objects } })
}

export const lastError = (failure: Failure, nowMs: number): LastError => ({
  code: failure.code,
  detail: failure.detail,
  atMs: nowMs,
  ...(failure.fields && {
    fields: Object.fromEntries(Object.entries(failure.fields).map(([key, value]) => [key, typeof value === 'object' ? [...value] : value])),
  }),
})

/** The same state with the failure of an effect in it; the same record when it says so already, so that a repeated failure is no news. */
export function withError(record: InstanceRecord, given: Failure, nowMs: number): InstanceRecord {
  const { phase } = record
  if (phase.lastError?.code === given.code && phase.lastError.detail === given.detail) return record
  return move(record, { ...phase, lastError: lastError(given, nowMs) })
}

type Common = { reason: Reason; sinceMs: number; attempt: number; lastError: LastError | null }

/** The fields every phase has. The last error stays until a verified start clears it. */
export function common(record: InstanceRecord, facts: Facts, reason: Reason, error?: LastError | null): Common {
  return {
    reason,
    sinceMs: facts.nowMs,
    attempt: record.episode?.attempts ?? 0,
    lastError: error === undefined ? record.phase.lastError : error,
  }
}

export const move = (record: InstanceRecord, phase: Phase): InstanceRecord => ({ ...record, phase })

/** Two readings of one clock may differ by this without its having been set. */
const CLOCK_SLACK_MS = 1000

/** The wall clock was set back beyond that moment. How much time has passed since is unknown then, and nobody may wait for it to come again. */
const wasSetBack = (momentMs: number, nowMs: number): boolean => nowMs < momentMs - CLOCK_SLACK_MS

/** Not yet `dueMs`, counted from `sinceMs`. */
export const tooEarly = (sinceMs: number, dueMs: number, nowMs: number): boolean => nowMs < dueMs && !wasSetBack(sinceMs, nowMs)

/** What a start depends on. Labels and modes are not part of it: changing them restarts nothing. */
export const specKey = ({ desired: { spec } }: InstanceRecord): string => fingerprint({ ...spec, recoveryMode: null })

/** The generation of the newest change that asks for something to be done. */
export const wishOf = ({ wishGeneration, generation }: Desired): number => wishGeneration ?? generation

export const specChanged = (record: InstanceRecord): boolean => record.incarnation > 0 && record.startedSpec !== specKey(record)

/** The object of the current incarnation: number and nonce. A number alone may be that of a life the journal of which was lost. */
export const currentObject = (record: InstanceRecord, objects: readonly SeenObject[]): SeenObject | undefined =>
  objects.find((object) => object.incarnation === record.incarnation && object.nonce === record.nonce)

/** The next number, above all that the runtime shows: what it keeps of an unknown life must not be taken for the new incarnation. */
const nextIncarnation = (record: InstanceRecord, { seen }: Facts): number =>
  1 + Math.max(record.incarnation, ...(seen.kind === 'known' ? seen.objects.map((object) => object.incarnation) : []))

/** Ends the running attempt in the history, if there is one. */
export function closeAttempt(
  record: InstanceRecord,
  outcome: Attempt['outcome'],
  nowMs: number,
  error: LastError | null = null,
): InstanceRecord {
  const last = record.attempts.at(-1)
  if (last?.outcome !== 'running') return record
  return { ...record, attempts: [...record.attempts.slice(0, -1), { ...last, outcome, endedAtMs: nowMs, error }] }
}

const TRIGGERS: Partial<Record<Reason, Trigger>> = { forced: 'forced', healer: 'healer', requested: 'wished' }

/** Begins an attempt: the next incarnation, in state preparing. `clean` starts counting from zero, as a person's wish does. */
export function beginAttempt(record: InstanceRecord, facts: Facts, reason: Reason, clean: boolean): Step {
  const { desired } = record
  const changed = specChanged(record)
  const episode = record.episode && !clean ? { ...record.episode, attempts: record.episode.attempts + 1 } : null
  const incarnation = nextIncarnation(record, facts)
  const trigger = TRIGGERS[reason] ?? 'automatic'
  const by = trigger === 'automatic' ? null : desired.wishedBy
  const attempt: Attempt = {
    incarnation,
    attempt: episode?.attempts ?? 1,
    reason,
    trigger,
    by,
    dataLoss: episode?.dataLoss ?? false,
    startedAtMs: facts.nowMs,
    endedAtMs: null,
    outcome: 'running',
    error: null,
  }
  const closed = closeAttempt(record, 'cancelled', facts.nowMs)
  const next: InstanceRecord = {
    ...closed,
    incarnation,
    nonce: facts.freshNonce,
    startedSpec: specKey(record),
    attemptGeneration: desired.generation,
    acted: { restartSeq: desired.restartSeq, recoverSeq: desired.recoverSeq, healSeq: desired.healSeq },
    startedAtMs: null,
    verified: false,
    provisioned: record.provisioned && !changed,
    failures: clean ? 0 : record.failures,
    ends: clean ? [] : record.ends,
    episode,
    // Ports stay with the instance unless its port list changed.
    hostPorts: changed ? [] : record.hostPorts,
    attempts: [...closed.attempts, attempt].slice(-ATTEMPTS_KEPT),
  }
  const notes: Note[] = episode ? [{ kind: 'attempting', attempt: episode.attempts, reason: episode.reason, trigger, by }] : []
  return step(move(next, { kind: 'preparing', ...common(next, facts, reason) }), `incarnation ${next.incarnation}: ${reason}`, { notes })
}

/** An automatic recovery is under way that is not wanted any more. One asked for by hand is. */
export const isSwitchedOff = ({ episode }: InstanceRecord, { policy }: Facts): boolean =>
  policy.mode !== 'on' && episode !== null && !episode.forced

/** A new episode, before its first attempt. */
export const newEpisode = (reason: Reason, lastSeenMs: number, nowMs: number, rest: Partial<Episode> = {}): Episode => ({
  reason,
  startedAtMs: nowMs,
  attempts: 0,
  lastSeenMs,
  queuedMs: 0,
  dataLoss: false,
  forced: false,
  ...rest,
})

/** Ends an episode without success, for instance because a person stopped the instance. */
export function endEpisode(
  record: InstanceRecord,
  facts: Facts,
  outcome: 'cancelled' | 'self_recovered',
): { record: InstanceRecord; notes: readonly Note[] } {
  const closed = closeAttempt(record, 'cancelled', facts.nowMs)
  const { episode } = record
  if (!episode) return { record: closed, notes: [] }
  return {
    record: { ...closed, episode: null },
    notes: [
      {
        kind: 'episode_ended',
        outcome,
        reason: episode.reason,
        attempts: episode.attempts,
        totalMs: facts.nowMs - episode.startedAtMs,
        attemptMs: 0,
        code: null,
        ...(outcome === 'cancelled' && record.desired.want === 'running' && isSwitchedOff(record, facts) && { switchedOff: true as const }),
      },
    ],
  }
}

/** The exit of the current incarnation, if the runtime knows it. */
export function currentExit(record: InstanceRecord, facts: Facts): Exit | null {
  if (facts.seen.kind === 'unknown') return record.lastExit
  return currentObject(record, facts.seen.objects)?.exit ?? record.lastExit
}

export const describeExit = (exit: Exit | null): string => {
  if (!exit) return 'nobody saw how it ended'
  if (exit.oom) return 'memory limit exceeded'
  if (exit.signal !== null) return `killed by ${exit.signal}`
  if (exit.code !== null) return `exit code ${exit.code}`
  return 'nobody saw how it ended'
}
