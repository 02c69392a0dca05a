// The states in which a workload lives: running, degraded, paused. What can happen: it ends, it is asked to change, its checks
// speak, it proves itself, it is paused.
import { failure } from '../../contracts/errors.ts'
import type { Phase } from '../../contracts/phase.ts'
import type { Facts, Note, SeenObject, Step } from '../model/plan.ts'
import type { InstanceRecord } from '../model/record.ts'
import {
  closeAttempt,
  common,
  currentObject,
  endEpisode,
  isSwitchedOff,
  lastError,
  move,
  RETRY_EFFECT_MS,
  specChanged,
  step,
  tooEarly,
  wishOf,
  withError,
} from './moves.ts'
import { closeEpisode, ended } from './recover.ts'

export function planRunning(record: InstanceRecord, facts: Facts): Step {
  const { seen } = facts
  if (seen.kind === 'unknown') return step(record, 'the runtime does not answer; nothing follows from that')
  const current = currentObject(record, seen.objects)
  if (!current) {
    const replaced = seen.objects.some((object) => object.incarnation === record.incarnation)
    return ended(record, facts, null, replaced ? 'process_mismatch' : 'process_dead')
  }
  if (current.state === 'dead') return ended(record, facts, current.exit, 'process_dead')
  if (!current.matches) return ended(record, facts, null, 'process_mismatch')
  return (
    planAsked(record, facts) ??
    planSwitchedOff(record, facts) ??
    planPause(record, facts, current) ??
    planChecks(record, facts) ??
    planProven(record, facts)
  )
}

const stopping = (record: InstanceRecord, facts: Facts, reason: Phase['reason'], because: string, error?: Phase['lastError']): Step =>
  step(move(record, { kind: 'stopping', ...common(record, facts, reason, error), towards: 'restart' }), because)

/** A person or the manifest wants it changed. */
function planAsked(record: InstanceRecord, facts: Facts): Step | undefined {
  const { desired, acted } = record
  if (specChanged(record)) return stopping(record, facts, 'requested', 'its spec changed')
  if (desired.restartSeq > acted.restartSeq) return stopping(record, facts, 'requested', 'a restart was asked for')
  if (desired.recoverSeq > acted.recoverSeq) return stopping(record, facts, 'forced', 'a recovery was asked for')
  // The healer asked while it was already back: answered.
  if (desired.healSeq > acted.healSeq) return step({ ...record, acted: { ...acted, healSeq: desired.healSeq } }, 'nothing to heal')
  return undefined
}

function planPause(record: InstanceRecord, facts: Facts, current: SeenObject): Step | undefined {
  const { desired, phase } = record
  const { outcome, nowMs } = facts
  if (outcome && !outcome.ok && (outcome.action === 'pause' || outcome.action === 'resume'))
    return step(withError(record, outcome.failure, nowMs), `${outcome.action} failed`, {
      wakeAtMs: nowMs + RETRY_EFFECT_MS,
      notes: [{ kind: 'error', code: outcome.failure.code }],
    })
  if (desired.want === 'paused') {
    if (current.state === 'paused')
      return phase.kind === 'paused'
        ? step(record, 'as wished')
        : step(move(record, { kind: 'paused', ...common(record, facts, 'requested') }), 'paused as wished')
    return step(record, 'pause', { action: { kind: 'pause', id: desired.id } })
  }
  if (current.state === 'paused') {
    if (phase.kind !== 'paused')
      return step(
        move({ ...record, attemptGeneration: desired.generation }, { kind: 'paused', ...common(record, facts, 'paused_outside') }),
        'somebody else paused it; left alone',
      )
    // Only a wish newer than the pause resumes what somebody paused with the runtime's own tools.
    if (phase.reason === 'paused_outside' && wishOf(desired) <= record.attemptGeneration) return step(record, 'paused outside')
    return step(record, 'resume', { action: { kind: 'resume', id: desired.id } })
  }
  if (phase.kind === 'paused')
    return step(move(record, { kind: 'running', ...common(record, facts, record.verified ? 'verified' : 'started') }), 'runs again')
  return undefined
}

/** Verdicts of checks: never a kill of a living workload unless allow_data_loss permits it. */
function planChecks(record: InstanceRecord, facts: Facts): Step | undefined {
  const { verdict, policy, nowMs } = facts
  const { phase } = record
  if (verdict.startFailed && !record.verified) {
    const error = lastError(failure('not_verified', verdict.detail), nowMs)
    return stopping(record, facts, 'start_failed', 'its start checks failed', error)
  }
  const reason = verdict.reason ?? 'health_check_failed'
  if (verdict.health === 'unhealthy' && phase.kind === 'running') {
    const error = lastError(failure(reason, verdict.detail), nowMs)
    const notes: Note[] = [{ kind: 'unhealthy', detail: verdict.detail }]
    // Not ready is no reason to restart: it lives and answers its live checks.
    if (policy.mode === 'on' && policy.allowDataLoss && verdict.reason !== null)
      return { ...stopping(record, facts, 'unhealthy_restart', 'checks failed and data loss is permitted', error), notes }
    // An orphan all the same: it should serve and does not. It is counted and named, and nothing is done to it.
    const orphaned: Note = {
      kind: 'orphaned',
      reason,
      lastSeenMs: nowMs,
      maxRetries: policy.maxRetries,
      recovering: false,
      dataLoss: false,
    }
    return step(
      move(record, { kind: 'degraded', ...common(record, facts, reason, error) }),
      'checks failed; it lives, so it is left alone',
      { notes: [...notes, orphaned] },
    )
  }
  // Only a check that passed ends it: after a restart of the agent none has been made yet.
  if (phase.kind === 'degraded' && (verdict.health === 'healthy' || !policy.checked)) {
    const { record: closed, notes } = endEpisode(record, facts, 'self_recovered')
    const back = move(closed, { kind: 'running', ...common(closed, facts, 'self_recovered', null) })
    return step(back, 'its checks pass again', { notes: [...notes, { kind: 'healthy_again', downtimeMs: nowMs - phase.sinceMs }] })
  }
  return undefined
}

/**
 * Verified once: by its checks, or by having lived for `verifyAfterMs`. An attempt has succeeded when it is both, what it was started
 * with is what is wished (or it would be on its way to another start), and its checks do not fail. Stable later: the count of failures
 * starts anew.
 */
function planProven(record: InstanceRecord, facts: Facts): Step {
  const { verdict, policy, nowMs } = facts
  const startedAtMs = record.startedAtMs ?? nowMs
  const livedAtMs = startedAtMs + policy.verifyAfterMs
  const lived = !tooEarly(startedAtMs, livedAtMs, nowMs)
  if (!record.verified) {
    const proven = verdict.gated ? verdict.health === 'healthy' : lived
    if (!proven) return step(record, 'not verified yet', { wakeAtMs: verdict.gated ? null : livedAtMs })
    const { record: closed, notes } = lived ? succeeded(record, facts) : { record, notes: [] }
    const verified = { ...closed, verified: true, provisioned: true }
    const phase = { ...common(verified, facts, 'verified', null), sinceMs: record.phase.sinceMs }
    return step(move(verified, { kind: 'running', ...phase }), 'verified', {
      notes,
      wakeAtMs: lived ? startedAtMs + policy.stableAfterMs : livedAtMs,
    })
  }
  const onTrial = record.attempts.at(-1)?.outcome === 'running' || record.episode !== null
  if (onTrial && verdict.health !== 'unhealthy') {
    if (!lived) return step(record, 'verified, and has to live on for a moment', { wakeAtMs: livedAtMs })
    const { record: closed, notes } = succeeded(record, facts)
    return step(closed, 'it has lived long enough', { notes, wakeAtMs: closed.failures > 0 ? startedAtMs + policy.stableAfterMs : null })
  }
  if (record.failures === 0) return step(record, 'as wished')
  const stableAtMs = startedAtMs + policy.stableAfterMs
  return !tooEarly(startedAtMs, stableAtMs, nowMs)
    ? step({ ...record, failures: 0 }, 'stable')
    : step(record, 'not stable yet', { wakeAtMs: stableAtMs })
}

const succeeded = (record: InstanceRecord, facts: Facts) =>
  closeEpisode(closeAttempt(record, 'success', facts.nowMs), facts, 'success', null)

/** Recovery was switched off: what is automatic ends, and what it has brought to life lives on. */
function planSwitchedOff(record: InstanceRecord, facts: Facts): Step | undefined {
  if (!isSwitchedOff(record, facts)) return undefined
  const { record: closed, notes } = endEpisode(record, facts, 'cancelled')
  return step(closed, `recovery is now ${facts.policy.mode}`, { notes })
}
