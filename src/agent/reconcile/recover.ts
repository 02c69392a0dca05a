// What happens when an instance ended, failed to start or failed its checks (docs/models/instance.md, "Recovery").
//
// One counter decides: `failures`, ends or failed attempts in a row without a stable run between them. The first one is
// answered at once; the n-th further one after base * factor^(n-1), at most max. From the second end in a row on, the state is
// crash_looping. After maxRetries attempts, or past the time budget, it is a quarantine that cools down to one trial start.
// A provisioning that failed (nothing of this spec was ever verified, and nothing ran) is not retried here: it is `failed`,
// and the control plane's healer decides. A failure that retrying cannot mend is `failed` with reason permanent_error.
import { backoffMs } from '../../base/backoff.ts'
import { durationText } from '../../base/duration-text.ts'
import { ERRORS, type Failure, failure } from '../../contracts/errors.ts'
import type { Exit, LastError, Reason } from '../../contracts/phase.ts'
import { formatMemory } from '../../contracts/units.ts'
import type { Facts, Note, Step } from '../model/plan.ts'
import type { InstanceRecord } from '../model/record.ts'
import { beginAttempt, closeAttempt, common, describeExit, lastError, move, newEpisode, specChanged, step } from './moves.ts'

/** Waiting for an engine to come back is no attempt: ask again soon. */
const RUNTIME_RETRY_MS = 2000

type Cause = { readonly reason: Reason; readonly failure: Failure; readonly ended: boolean; readonly dataLoss?: true }

/** The current incarnation ended by itself, vanished, or is not ours any more. */
export function ended(record: InstanceRecord, facts: Facts, exit: Exit | null, reason: 'process_dead' | 'process_mismatch'): Step {
  const { restart, memoryBytes } = record.desired.spec
  // An end that nobody saw is not the end of an earlier incarnation.
  const seen = { ...record, lastExit: exit }
  if (reason === 'process_dead' && exit?.code === 0 && restart !== 'always') {
    const { record: closed, notes } = closeEpisode(closeAttempt(seen, 'success', facts.nowMs), facts, 'success', null)
    return step(
      move(closed, { kind: 'completed', ...common(closed, facts, 'exited_ok', null), exit }),
      'ended well, and its restart policy is content',
      { notes },
    )
  }
  if (restart === 'never') {
    const how = exit?.oom
      ? failure('memory_limit_exceeded', `memory limit exceeded: the cap is ${formatMemory(memoryBytes)}`, { limit: memoryBytes })
      : failure('one_shot_failed', `It ended with ${describeExit(exit)}.`)
    return fail(seen, facts, 'exited_error', how)
  }
  if (exit?.oom)
    return again(seen, facts, {
      reason: 'process_dead',
      ended: true,
      failure: failure('memory_limit_exceeded', `memory limit exceeded: the cap is ${formatMemory(memoryBytes)}`, { limit: memoryBytes }),
    })
  const what =
    reason === 'process_mismatch'
      ? failure('process_mismatch', 'What runs under its name is not what this incarnation started.')
      : failure('process_dead', `It ended: ${describeExit(exit)}.`)
  return again(seen, facts, { reason, ended: true, failure: what })
}

/** An attempt to start did not succeed. */
export function startFailed(record: InstanceRecord, facts: Facts, why: Failure): Step {
  const notes: Note[] = [{ kind: 'error', code: why.code }]
  const withNotes = (given: Step): Step => ({ ...given, notes: [...notes, ...given.notes] })
  if (why.code === 'runtime_unreachable' && record.episode) {
    const error = lastError(why, facts.nowMs)
    const closed = closeAttempt(record, 'cancelled', facts.nowMs, error)
    // The attempt did not reach the runtime, so it does not count against the budget.
    const uncounted = { ...closed, episode: record.episode && { ...record.episode, attempts: Math.max(0, record.episode.attempts - 1) } }
    return withNotes(
      step(
        move(uncounted, {
          kind: 'recovering',
          ...common(uncounted, facts, 'runtime_unreachable', error),
          nextAttemptAtMs: facts.nowMs + RUNTIME_RETRY_MS,
        }),
        'the runtime does not answer',
      ),
    )
  }
  if (ERRORS[why.code].retry === 'never') return withNotes(fail(record, facts, 'permanent_error', why))
  if (!record.provisioned && !record.episode) {
    const admission = why.code === 'node_full' || why.code === 'node_pressure'
    return withNotes(fail(record, facts, admission ? 'admission_refused' : 'start_failed', why))
  }
  return withNotes(again(record, facts, { reason: 'start_failed', ended: false, failure: why }))
}

/** Checks failed and data loss is permitted, or start checks never passed: the incarnation has been stopped, try again. */
export function unfit(record: InstanceRecord, facts: Facts, why: Failure, dataLoss: boolean): Step {
  return again(record, facts, { reason: 'health_check_failed', ended: true, failure: why, ...(dataLoss && { dataLoss }) })
}

/** Asked for by hand: now, counting from zero, with its outcome told like that of any recovery. What never ran has nothing to recover. */
export function forced(record: InstanceRecord, facts: Facts): Step {
  if (record.episode !== null)
    return beginAttempt({ ...record, failures: 0, episode: { ...record.episode, forced: true } }, facts, 'forced', false)
  if (!record.provisioned || specChanged(record)) return beginAttempt(record, facts, 'forced', true)
  const { nowMs } = facts
  const episode = newEpisode(lostBy(record), lastSeenMs(record) ?? nowMs, nowMs, { forced: true })
  return beginAttempt({ ...record, failures: 0, ends: [], episode }, facts, 'forced', false)
}

/** Recovery is on again: what ended while it was not is recovered now, in one episode. */
export function takenUp(record: InstanceRecord, facts: Facts): Step {
  const { policy, nowMs, fraction } = facts
  const reason = lostBy(record)
  const episode = newEpisode(reason, lastSeenMs(record) ?? nowMs, nowMs)
  const next = { ...record, episode, failures: record.failures + 1 }
  const nextAttemptAtMs = nowMs + backoffMs(policy.backoff, record.failures, fraction)
  return step(move(next, { kind: 'recovering', ...common(next, facts, reason), nextAttemptAtMs }), 'recovery is on again', {
    notes: [{ kind: 'taken_up', reason, maxRetries: policy.maxRetries }],
    wakeAtMs: nextAttemptAtMs,
  })
}

/** As far as its last error tells. */
export function lostBy({ phase: { lastError: error } }: InstanceRecord): Reason {
  const code = error?.code
  return code === 'process_mismatch' || code === 'socket_unreachable' || code === 'health_check_failed' ? code : 'process_dead'
}

function again(record: InstanceRecord, facts: Facts, cause: Cause): Step {
  const { policy, nowMs } = facts
  const error = lastError(cause.failure, nowMs)
  const stable = record.verified && record.startedAtMs !== null && nowMs - record.startedAtMs >= policy.stableAfterMs
  const failures = stable ? 0 : record.failures
  const opening = record.episode === null
  const dataLoss = cause.dataLoss ?? false
  const begun = record.episode ?? newEpisode(cause.reason, lastSeenMs(record) ?? nowMs, nowMs)
  // What follows is not what was asked for by hand.
  const episode = { ...begun, forced: false, dataLoss: begun.dataLoss || dataLoss }
  const active = policy.mode === 'on'
  const attempt = record.attempts.at(-1)
  const notes: Note[] = []
  if (!opening && attempt?.outcome === 'running')
    notes.push({
      kind: 'attempt_failed',
      attempt: episode.attempts,
      reason: episode.reason,
      code: error.code,
      detail: error.detail,
      durationMs: nowMs - attempt.startedAtMs,
    })
  if (opening)
    notes.push({
      kind: 'orphaned',
      reason: cause.reason,
      lastSeenMs: episode.lastSeenMs,
      maxRetries: policy.maxRetries,
      recovering: active,
      dataLoss,
    })
  const ends = cause.ended ? [...record.ends.filter((atMs) => nowMs - atMs < policy.endsWindowMs), nowMs] : record.ends
  const closed: InstanceRecord = { ...closeAttempt(record, 'failure', nowMs, error), episode, failures, ends, verified: false }
  if (!active) {
    // One that was asked for by hand, or has just been switched off, has its outcome; a death that nobody answers is no episode.
    const { record: kept, notes: ending } = opening
      ? { record: { ...closed, episode: null }, notes: [] }
      : closeEpisode(closed, facts, 'failure', error)
    return step(move(kept, { kind: 'failed', ...common(kept, facts, 'recovery_off', error) }), `recovery is ${policy.mode}`, {
      notes: [...notes, ...ending],
    })
  }
  const delayMs = backoffMs(policy.backoff, failures, facts.fraction)
  const late = nowMs + delayMs - episode.startedAtMs - episode.queuedMs > policy.recoveryTimeoutMs
  if (failures >= policy.maxRetries || late || ends.length > policy.endsMax)
    return quarantine(closed, facts, error, notes, late ? 'timeout' : 'failure')
  const next = { ...closed, failures: failures + 1 }
  const looping = cause.ended && failures >= 1
  const phase = {
    ...common(next, facts, looping ? 'crash_loop' : cause.reason, error),
    attempt: triesInRow(closed),
    nextAttemptAtMs: nowMs + delayMs,
  }
  if (looping) notes.push({ kind: 'crash_looping', failures: next.failures, windowMs: sinceFirst(closed, nowMs), detail: error.detail })
  return step(
    move(next, looping ? { kind: 'crash_looping', ...phase } : { kind: 'recovering', ...phase }),
    `${cause.reason}; next attempt in ${durationText(delayMs)}`,
    { notes, wakeAtMs: nowMs + delayMs },
  )
}

/** The last sign of life: its end, or else its start. */
function lastSeenMs({ lastExit, startedAtMs }: InstanceRecord): number | null {
  return lastExit === null || startedAtMs === null ? (startedAtMs ?? lastExit?.atMs ?? null) : Math.max(lastExit.atMs, startedAtMs)
}

function quarantine(record: InstanceRecord, facts: Facts, error: LastError, notes: readonly Note[], outcome: 'failure' | 'timeout'): Step {
  const { nowMs, policy } = facts
  const { record: closed, notes: ending } = closeEpisode(record, facts, outcome, error)
  const untilMs = nowMs + policy.cooldownMs
  const counted = { ...closed, failures: record.failures + 1 }
  const tooOften = record.ends.length > policy.endsMax
  const [failures, windowMs] = tooOften
    ? [record.ends.length, nowMs - (record.ends[0] ?? nowMs)]
    : [counted.failures, sinceFirst(record, nowMs)]
  const phase = {
    ...common(record, facts, tooOften ? 'crash_loop' : 'attempts_exhausted', error),
    attempt: tooOften ? failures : triesInRow(record),
    untilMs,
  }
  return step(move(counted, { kind: 'quarantined', ...phase }), tooOften ? 'it ended too often' : 'no attempts left', {
    notes: [...notes, ...ending, { kind: 'quarantined', failures, windowMs, detail: error.detail, tooOften }],
    wakeAtMs: untilMs,
  })
}

/** Starts tried since the last stable run. An episode alone does not know: a start that proves itself ends it, and the next end begins another. */
const triesInRow = ({ episode, failures }: InstanceRecord): number => Math.max(episode?.attempts ?? 0, failures)

/** Since the first failure in a row, which was answered at once by the first of as many attempts. `failures` does not count the present one. */
function sinceFirst({ attempts, failures }: InstanceRecord, nowMs: number): number {
  if (failures === 0) return 0
  const counted = attempts.filter(({ outcome }) => outcome !== 'cancelled')
  return nowMs - ((counted.at(-failures) ?? counted[0])?.startedAtMs ?? nowMs)
}

function fail(record: InstanceRecord, facts: Facts, reason: Reason, why: Failure): Step {
  const error = lastError(why, facts.nowMs)
  const { record: closed, notes } = closeEpisode(closeAttempt(record, 'failure', facts.nowMs, error), facts, 'failure', error)
  return step(move(closed, { kind: 'failed', ...common(record, facts, reason, error) }), why.detail, { notes })
}

/** Ends the episode, once, with its outcome. */
export function closeEpisode(
  record: InstanceRecord,
  facts: Facts,
  outcome: 'success' | 'failure' | 'timeout',
  error: LastError | null,
): { record: InstanceRecord; notes: readonly Note[] } {
  const { episode } = record
  if (!episode) return { record, notes: [] }
  const attempt = record.attempts.at(-1)
  return {
    record: { ...record, episode: null },
    notes: [
      {
        kind: 'episode_ended',
        outcome,
        reason: episode.reason,
        attempts: episode.attempts,
        totalMs: facts.nowMs - episode.startedAtMs,
        attemptMs: attempt ? facts.nowMs - attempt.startedAtMs : 0,
        code: error?.code ?? null,
      },
    ],
  }
}
