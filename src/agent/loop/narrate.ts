// Each note of the planner becomes exactly one log line and its counts. Messages and fields are fixed (docs/logs.md).
import type { Logger } from '../../base/log.ts'
import { type Meter, ORPHAN_REASONS } from '../../contracts/metrics.ts'
import type { Note } from '../model/plan.ts'
import type { InstanceRecord } from '../model/record.ts'

export interface Voice {
  readonly log: Logger
  readonly meter: Meter
  readonly maxRetries: number
  readonly nowMs: number
  /** From the event to the journalled reason; null when a scan found it. */
  readonly detectionMs: number | null
}

const KNOWN: ReadonlySet<string> = new Set(ORPHAN_REASONS)
/** Bounded label: what is no orphan reason of the closed set counts as process_dead. */
export const orphanReason = (reason: string): string => (KNOWN.has(reason) ? reason : 'process_dead')

export function narrate(note: Note, record: InstanceRecord, voice: Voice): void {
  const { log, meter } = voice
  const ids = { vm_id: record.desired.id, instance_id: record.desired.id, name: record.desired.name, incarnation: record.incarnation }
  switch (note.kind) {
    case 'orphaned':
    case 'taken_up':
    case 'attempting':
      narrateBegin(note, record, ids, voice)
      return
    case 'attempt_failed':
      log.warn('vm recovery attempt failed', {
        ...ids,
        attempt: note.attempt,
        max_retries: voice.maxRetries,
        error_code: note.code,
        error: note.detail,
        duration_ms: note.durationMs,
      })
      return
    case 'episode_ended':
      narrateEnd(note, ids, voice)
      return
    case 'crash_looping':
      log.error('instance crash looping', { ...ids, exits: note.failures, window_ms: note.windowMs, last_error: note.detail })
      return
    case 'quarantined':
      if (note.tooOften)
        log.error('recovery breaker opened', { ...ids, scope: 'instance', failures: note.failures, window_ms: note.windowMs })
      log.error('instance quarantined', { ...ids, exits: note.failures, window_ms: note.windowMs, last_error: note.detail })
      return
    case 'unhealthy':
      log.warn('vm marked unhealthy', { ...ids, error: note.detail, downtime_ms: 0 })
      return
    case 'healthy_again':
      log.info('vm recovered', { ...ids, downtime_ms: note.downtimeMs })
      return
    case 'port_changed':
      log.warn('port taken', { ...ids, was: note.was, port: note.port })
      return
    case 'applied':
      meter.observe('apply_duration_seconds', note.durationMs / 1000, { runtime: record.desired.spec.runtime })
      return
    case 'gone':
      meter.observe('delete_duration_seconds', note.durationMs / 1000, { runtime: record.desired.spec.runtime })
      return
    case 'error':
      meter.count('errors_total', { code: note.code })
      return
    default:
      note satisfies never
  }
}

type Ids = Readonly<Record<string, string | number>>

function narrateBegin(
  note: Extract<Note, { kind: 'orphaned' | 'taken_up' | 'attempting' }>,
  record: InstanceRecord,
  ids: Ids,
  { log, meter, nowMs, detectionMs }: Voice,
): void {
  const reason = orphanReason(note.reason)
  if (note.kind === 'attempting') {
    meter.count('vm_recovery_attempts_total', { reason })
    const { attempt, trigger, by } = note
    log.info('attempting vm recovery', { ...ids, attempt, reason, trigger, ...(by !== null && { actor: by }) })
    return
  }
  if (note.kind === 'orphaned') {
    meter.count('vm_orphaned_total', { reason })
    log.error('orphaned vm detected', {
      ...ids,
      process_id: `${record.desired.id}-${record.incarnation}`,
      reason,
      last_seen: new Date(note.lastSeenMs).toISOString(),
      downtime_ms: nowMs - (record.lastExit?.atMs ?? nowMs),
      detection_ms: detectionMs,
    })
    if (!note.recovering) return
  }
  const dataLoss = note.kind === 'orphaned' && note.dataLoss && { allow_data_loss: true }
  log.info('starting vm recovery', { ...ids, reason, max_retries: note.maxRetries, ...dataLoss })
}

function narrateEnd(note: Extract<Note, { kind: 'episode_ended' }>, ids: Ids, voice: Voice): void {
  const { log, meter } = voice
  const reason = orphanReason(note.reason)
  meter.count('vm_recovery_episodes_total', { reason, outcome: note.outcome })
  meter.observe('vm_recovery_duration_seconds', note.totalMs / 1000, { outcome: note.outcome })
  switch (note.outcome) {
    case 'success':
      meter.count('vm_recovery_success_total', { reason })
      log.info('vm recovery successful', {
        ...ids,
        attempt: note.attempts,
        total_duration_ms: note.totalMs,
        attempt_duration_ms: note.attemptMs,
      })
      return
    case 'failure':
    case 'timeout':
      log.error('vm recovery failed completely', { ...ids, attempts: note.attempts, error_code: note.code })
      return
    case 'cancelled':
    case 'self_recovered':
      log.info('recovery cancelled', {
        ...ids,
        attempt: note.attempts,
        cause: note.switchedOff ? 'switched off' : note.outcome === 'cancelled' ? 'newer wish' : 'self recovered',
      })
      return
    default:
      note.outcome satisfies never
  }
}
