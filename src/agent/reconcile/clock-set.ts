// Waits and budgets are counted in time that passed, while a record holds moments of the wall clock, because it has to outlive this
// process. So when that clock is set, the moments that something is counted from move along with it, by as much. History does not: it
// stays as it was told.
import type { Attempt, Phase } from '../../contracts/phase.ts'
import type { InstanceRecord } from '../model/record.ts'

/** Slewing and rounding stay below this, and matter to no wait. */
export const CLOCK_SET_MS = 1000

/** The record after the wall clock was set by `byMs` while this agent ran; the same record when nothing in it is being counted. */
export function shifted(record: InstanceRecord, byMs: number): InstanceRecord {
  const { phase, episode, startedAtMs } = record
  const waits = 'nextAttemptAtMs' in phase || 'untilMs' in phase
  const unproven = startedAtMs !== null && (!record.verified || record.failures > 0)
  if (!waits && !unproven && episode === null && record.ends.length === 0) return record
  return {
    ...record,
    ends: record.ends.map((atMs) => atMs + byMs),
    phase: shiftedPhase(phase, byMs),
    startedAtMs: startedAtMs === null ? null : startedAtMs + byMs,
    episode: episode && { ...episode, startedAtMs: episode.startedAtMs + byMs, lastSeenMs: episode.lastSeenMs + byMs },
    attempts: record.attempts.map(
      (attempt): Attempt => (attempt.outcome === 'running' ? { ...attempt, startedAtMs: attempt.startedAtMs + byMs } : attempt),
    ),
  }
}

function shiftedPhase(phase: Phase, byMs: number): Phase {
  const sinceMs = phase.sinceMs + byMs
  if ('nextAttemptAtMs' in phase) return { ...phase, sinceMs, nextAttemptAtMs: phase.nextAttemptAtMs + byMs }
  if ('untilMs' in phase) return { ...phase, sinceMs, untilMs: phase.untilMs + byMs }
  return { ...phase, sinceMs }
}

/**
 * The record as a new agent takes it over. Nobody knows how much time passed since it was written, only what the clock says, which may have
 * been set: so of that time no more counts than the wait it was in, and a wait is never longer than it was.
 */
export function resumed(record: InstanceRecord, nowMs: number): InstanceRecord {
  const { phase, episode } = record
  const sinceMs = Math.min(phase.sinceMs, nowMs)
  const dueMs = 'nextAttemptAtMs' in phase ? phase.nextAttemptAtMs : 'untilMs' in phase ? phase.untilMs : phase.sinceMs
  const passedMs = Math.min(Math.max(0, nowMs - phase.sinceMs), dueMs - phase.sinceMs)
  const leftMs = dueMs - phase.sinceMs - passedMs
  const spentMs = episode === null ? 0 : Math.max(0, phase.sinceMs - episode.startedAtMs) + passedMs
  return {
    ...record,
    phase: {
      ...phase,
      sinceMs,
      ...('nextAttemptAtMs' in phase && { nextAttemptAtMs: nowMs + leftMs }),
      ...('untilMs' in phase && { untilMs: nowMs + leftMs }),
    },
    startedAtMs: record.startedAtMs === null ? null : Math.min(record.startedAtMs, nowMs),
    ends: record.ends.map((atMs) => Math.min(atMs, nowMs)),
    episode: episode && { ...episode, startedAtMs: nowMs - spentMs, lastSeenMs: Math.min(episode.lastSeenMs, nowMs) },
  }
}
