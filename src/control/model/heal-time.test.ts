import { expect, test } from 'vitest'
import { instanceId, instanceOf, nodeId, orgId, phaseOf } from '../../../tests/support/control-records.ts'
import type { HealRecord } from './heal.ts'
import { nextHealMs, restsBecause } from './heal-time.ts'
import { instanceView } from './views.ts'

const failed = phaseOf('failed', {
  reason: 'start_failed',
  sinceMs: 1000,
  lastError: { code: 'image_pull_failed', detail: '', atMs: 1000 },
})
const row = (given = {}) => instanceOf({ nodeId: nodeId('a'), generation: 3, phase: failed, ...given })
const heal = (given: Partial<HealRecord> = {}): HealRecord => ({
  instanceId: instanceId(1),
  orgId: orgId(1),
  generation: 3,
  givenUp: false,
  dueAtMs: 90_000,
  attempts: 1,
  reason: 'failed',
  lastError: null,
  createdAtMs: 0,
  ...given,
})

test('a failed instance that the healer will try again says when, also before its row of work is there', () => {
  expect(nextHealMs(row(), heal())).toBe(90_000)
  expect(nextHealMs(row(), null)).toBe(6000)
  // Work about an older wish says nothing about this one.
  expect(nextHealMs(row({ generation: 4 }), heal())).toBe(6000)
  expect(instanceView(row(), heal()).next_attempt_at).toBe('1970-01-01T00:01:30.000Z')
})

test.each([
  ['not_wished', { want: 'stopped' }, heal()],
  [
    'permanent',
    { phase: phaseOf('failed', { reason: 'start_failed', lastError: { code: 'image_not_found', detail: '', atMs: 0 } }) },
    heal(),
  ],
  ['permanent', { phase: phaseOf('failed', { reason: 'permanent_error' }) }, null],
  ['recovery_off', { recoveryMode: 'observe' }, heal()],
  ['recovery_off', { phase: phaseOf('failed', { reason: 'recovery_off' }) }, null],
  ['ran_once', { phase: phaseOf('failed', { reason: 'exited_error' }) }, null],
  ['given_up', {}, heal({ givenUp: true })],
] as const)('one that rests (%s) promises nothing', (because, given, work) => {
  expect(restsBecause(row(given), work)).toBe(because)
  expect(nextHealMs(row(given), work)).toBeNull()
  expect(instanceView(row(given), work).next_attempt_at).toBeNull()
})

test("what is not failed is not the healer's to promise", () => {
  expect(nextHealMs(row({ phase: phaseOf('running') }), heal())).toBeNull()
})
