import { expect, test } from 'vitest'
import { instanceOf, phaseOf } from '../../../tests/support/control-records.ts'
import { EnvId } from '../../contracts/ids.ts'
import { PHASE_KINDS } from '../../contracts/phase.ts'
import type { HealRecord } from './heal.ts'
import { staleSinceMs } from './stale.ts'

const failed = instanceOf({
  phase: phaseOf('failed', { sinceMs: 50 }),
  want: 'running',
  generation: 4,
  membership: null,
  deletedAtMs: null,
})
const heal: HealRecord = {
  instanceId: failed.id,
  orgId: failed.orgId,
  generation: 4,
  givenUp: true,
  dueAtMs: 0,
  attempts: 5,
  reason: 'x',
  lastError: null,
  createdAtMs: 60,
}

test('failed and given up: stale since the later of what two clocks say', () => {
  expect(staleSinceMs(failed, heal)).toBe(60)
  expect(staleSinceMs(failed, { ...heal, createdAtMs: 40 })).toBe(50)
})

test('what the healer may still mend, what a person has wished anew, and a replica of an env are not stale', () => {
  expect(staleSinceMs(failed, null)).toBe(null)
  expect(staleSinceMs(failed, { ...heal, givenUp: false })).toBe(null)
  expect(staleSinceMs(failed, { ...heal, generation: 3 })).toBe(null)
  expect(staleSinceMs({ ...failed, want: 'stopped' }, heal)).toBe(null)
  expect(staleSinceMs({ ...failed, deletedAtMs: 1 }, heal)).toBe(null)
  const membership = {
    envId: EnvId.parse('env_00000000000000000001'),
    app: 'a',
    env: 'prod',
    processType: 'web',
    slot: 0,
    manifestHash: 'h',
  }
  expect(staleSinceMs({ ...failed, membership }, heal)).toBe(null)
})

test('no other state is', () => {
  for (const kind of PHASE_KINDS.filter((one) => one !== 'failed')) {
    const phase = { ...failed.phase, kind } as typeof failed.phase
    expect(staleSinceMs({ ...failed, phase }, heal)).toBe(null)
  }
})
