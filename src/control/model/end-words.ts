// How an instance ended, in words: the last time, and what its present run was started after. Pure.
import { ERRORS } from '../../contracts/errors.ts'
import type { Exit, LastError, Reason } from '../../contracts/phase.ts'
import type { InstanceRecord } from './instance.ts'
import { ago } from './words.ts'

/** What brought it down, without the full stop. */
export function endCause(instance: InstanceRecord): string {
  const { phase, observed } = instance
  const exit = observed?.lastExit ?? null
  if (exit?.oom || phase.reason === 'memory_limit_exceeded') return 'It was ended: memory limit exceeded'
  if (phase.lastError && !EXIT_CODES.has(phase.lastError.code)) return errorText(phase.lastError)
  if (exit) return `It ${exitText(exit)}`
  return phase.lastError ? errorText(phase.lastError) : 'It ended'
}

const EXIT_CODES: ReadonlySet<string> = new Set(['exited', 'process_dead', 'one_shot_failed', 'crash_loop'])

export function errorText(error: LastError): string {
  const message = ERRORS[error.code].message.replace(/\.$/, '')
  const detail = error.detail.replace(/\.$/, '')
  return detail === '' || detail === message ? upper(message) : `${upper(message)} (${detail})`
}

export function exitText(exit: Exit): string {
  if (exit.oom) return 'was killed: memory limit exceeded'
  if (exit.signal !== null) return `was ended by ${exit.signal}`
  if (exit.code !== null) return `exited with code ${exit.code}`
  return 'ended, and nobody could see how'
}

/** Attempts of an episode; the others begin with somebody's wish. */
const EPISODE: ReadonlySet<Reason> = new Set([
  'process_dead',
  'process_mismatch',
  'socket_unreachable',
  'health_check_failed',
  'unhealthy_restart',
  'memory_limit_exceeded',
  'start_failed',
  'crash_loop',
  'attempts_exhausted',
])
/** Older than that it is history, and `history` tells it. */
const NEWS_MS = 3_600_000

/** Why its present incarnation was started, if that was by itself and not long ago; half a sentence. */
export function broughtBack({ observed, incarnation }: InstanceRecord, nowMs: number): string | undefined {
  const attempt = observed?.attempts.findLast((one) => one.incarnation === incarnation)
  const exit = observed?.lastExit ?? null
  if (!attempt || !EPISODE.has(attempt.reason) || nowMs - attempt.startedAtMs > NEWS_MS) return undefined
  // A failed check ended it by our own hand: how it then ended is not the cause.
  if (attempt.reason === 'unhealthy_restart' || attempt.reason === 'health_check_failed')
    return `it was started again ${ago(attempt.startedAtMs, nowMs)}, because its checks had failed`
  if (exit === null) return `it was started again ${ago(attempt.startedAtMs, nowMs)}, after ${attempt.reason.replaceAll('_', ' ')}`
  return `it ${exitText(exit)} and was started again ${ago(attempt.startedAtMs, nowMs)}`
}

const upper = (text: string) => text.charAt(0).toUpperCase() + text.slice(1)
