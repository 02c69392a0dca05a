// The published searches and dashboards read these lines and series: message, level and field names are fixed.
import { readFileSync } from 'node:fs'
import path from 'node:path'
import { expect, test } from 'vitest'
import { agent, desired } from '../../../tests/support/agent-world.ts'
import { RecordingLog } from '../../../tests/support/recording-log.ts'
import { createTelemetry } from '../../telemetry/meter.ts'
import type { Note } from '../model/plan.ts'
import { newRecord } from '../model/record.ts'
import { narrate } from './narrate.ts'

const ids = ['vm_id', 'instance_id', 'name', 'incarnation']
const NOW = 1_800_000_000_000

async function told(note: Note) {
  const log = new RecordingLog()
  const { lines } = log
  // The namespace under which the names are those of the source documents.
  const telemetry = createTelemetry({ namespace: 'unkey_metald' })
  const record = { ...newRecord(desired(), NOW), incarnation: 3 }
  narrate(note, record, { log, meter: telemetry.meter, maxRetries: 3, nowMs: NOW, detectionMs: 2 })
  const text = await telemetry.render()
  return {
    lines,
    value: (series: string) =>
      Number(
        text
          .split('\n')
          .find((line) => line.startsWith(`${series} `))
          ?.split(' ')[1],
      ),
  }
}

const reason = 'process_dead' as const
const ended = { kind: 'episode_ended', reason, attempts: 2, totalMs: 5000, attemptMs: 1000, code: 'process_dead' } as const

test.each<[Note, string, string, string[]]>([
  [
    { kind: 'orphaned', reason, lastSeenMs: NOW, maxRetries: 3, recovering: false, dataLoss: false },
    'error',
    'orphaned vm detected',
    ['process_id', 'reason', 'last_seen', 'downtime_ms', 'detection_ms'],
  ],
  [
    { kind: 'attempting', attempt: 1, reason, trigger: 'automatic', by: null },
    'info',
    'attempting vm recovery',
    ['attempt', 'reason', 'trigger'],
  ],
  [
    { kind: 'attempting', attempt: 1, reason, trigger: 'forced', by: 'token:ann' },
    'info',
    'attempting vm recovery',
    ['attempt', 'reason', 'trigger', 'actor'],
  ],
  [{ kind: 'taken_up', reason, maxRetries: 3 }, 'info', 'starting vm recovery', ['reason', 'max_retries']],
  [
    { kind: 'attempt_failed', attempt: 1, reason, code: 'start_failed', detail: 'x', durationMs: 5 },
    'warn',
    'vm recovery attempt failed',
    ['attempt', 'max_retries', 'error_code', 'error', 'duration_ms'],
  ],
  [{ ...ended, outcome: 'success' }, 'info', 'vm recovery successful', ['attempt', 'total_duration_ms', 'attempt_duration_ms']],
  [{ ...ended, outcome: 'failure' }, 'error', 'vm recovery failed completely', ['attempts', 'error_code']],
  [{ ...ended, outcome: 'timeout' }, 'error', 'vm recovery failed completely', ['attempts', 'error_code']],
  [{ ...ended, outcome: 'cancelled' }, 'info', 'recovery cancelled', ['attempt', 'cause']],
  [{ ...ended, outcome: 'self_recovered' }, 'info', 'recovery cancelled', ['attempt', 'cause']],
  [{ kind: 'unhealthy', detail: 'x' }, 'warn', 'vm marked unhealthy', ['error', 'downtime_ms']],
  [{ kind: 'healthy_again', downtimeMs: 5 }, 'info', 'vm recovered', ['downtime_ms']],
  [
    { kind: 'crash_looping', failures: 2, windowMs: 5, detail: 'x' },
    'error',
    'instance crash looping',
    ['exits', 'window_ms', 'last_error'],
  ],
  [{ kind: 'port_changed', was: 41_001, port: 41_002 }, 'warn', 'port taken', ['was', 'port']],
  [
    { kind: 'quarantined', failures: 3, windowMs: 5, detail: 'x', tooOften: false },
    'error',
    'instance quarantined',
    ['exits', 'window_ms', 'last_error'],
  ],
])('T41, C58: %j is one line: %s %s', async (note, level, msg, fields) => {
  const { lines } = await told(note)
  expect(lines).toHaveLength(1)
  expect(lines[0]).toMatchObject({ level, msg })
  expect(Object.keys(lines[0]?.fields ?? {}).sort()).toEqual([...ids, ...fields].sort())
  expect(lines[0]?.fields).toMatchObject({ vm_id: desired().id, instance_id: desired().id })
  expect(readFileSync(path.resolve('docs/logs.md'), 'utf8')).toContain(`\`${msg}\` | ${level} |`)
})

test('an orphan that is recovered says so in a second line', async () => {
  const { lines } = await told({ kind: 'orphaned', reason, lastSeenMs: NOW, maxRetries: 3, recovering: true, dataLoss: false })
  expect(lines.map(({ msg }) => msg)).toEqual(['orphaned vm detected', 'starting vm recovery'])
  expect(Object.keys(lines[1]?.fields ?? {})).toEqual([...ids, 'reason', 'max_retries'])
})

test('T40: what the published queries divide is counted by its reason, once', async () => {
  const labels = '{reason="process_dead"}'
  const orphaned = await told({ kind: 'orphaned', reason, lastSeenMs: NOW, maxRetries: 3, recovering: true, dataLoss: false })
  expect(orphaned.value(`unkey_metald_vm_orphaned_total${labels}`)).toBe(1)
  const attempted = await told({ kind: 'attempting', attempt: 1, reason, trigger: 'automatic', by: null })
  expect(attempted.value(`unkey_metald_vm_recovery_attempts_total${labels}`)).toBe(1)
  expect(attempted.value(`unkey_metald_vm_recovery_success_total${labels}`)).toBe(0)
  const success = await told({ ...ended, outcome: 'success' })
  expect(success.value(`unkey_metald_vm_recovery_success_total${labels}`)).toBe(1)
  expect(success.value('unkey_metald_vm_recovery_episodes_total{reason="process_dead",outcome="success"}')).toBe(1)
  expect(success.value('unkey_metald_vm_recovery_duration_seconds_count{outcome="success"}')).toBe(1)
  // A reason outside of the closed set makes no new series.
  expect(
    (await told({ kind: 'attempting', attempt: 1, reason: 'forced', trigger: 'automatic', by: null })).value(
      `unkey_metald_vm_recovery_attempts_total${labels}`,
    ),
  ).toBe(1)
})

test('how long a start and a deletion took is measured by runtime', async () => {
  const applied = await told({ kind: 'applied', durationMs: 250 })
  expect(applied.lines).toEqual([])
  expect(applied.value('unkey_metald_apply_duration_seconds_count{runtime="fake"}')).toBe(1)
  const gone = await told({ kind: 'gone', durationMs: 250 })
  expect(gone.value('unkey_metald_delete_duration_seconds_count{runtime="fake"}')).toBe(1)
})

test('C57: a turn that did something says `reconciled` once with its counts; one that did nothing is silent', async () => {
  const { instances, logs, scanner, clock } = agent()
  instances.setDesired([desired()])
  await clock.advance(2000)
  expect(logs.filter(({ msg }) => msg === 'reconciled')).toHaveLength(1)
  await scanner.scan('fake')
  await clock.advance(2000)
  expect(logs.filter(({ msg }) => msg === 'reconciled')).toHaveLength(1)
})

test.each(['success', 'failure', 'timeout', 'cancelled', 'self_recovered'] as const)(
  'B30: an episode that ends by %s is counted once by its outcome, and its duration measured',
  async (outcome) => {
    const { lines, value } = await told({ ...ended, outcome })
    expect(lines).toHaveLength(1)
    expect(value(`unkey_metald_vm_recovery_episodes_total{reason="process_dead",outcome="${outcome}"}`)).toBe(1)
    expect(value(`unkey_metald_vm_recovery_duration_seconds_count{outcome="${outcome}"}`)).toBe(1)
    expect(value(`unkey_metald_vm_recovery_duration_seconds_sum{outcome="${outcome}"}`)).toBe(5)
    expect(value('unkey_metald_vm_recovery_success_total{reason="process_dead"}')).toBe(outcome === 'success' ? 1 : 0)
  },
)
