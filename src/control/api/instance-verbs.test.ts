// A wish that could never come true is refused while somebody is there to hear it.
import { expect, test } from 'vitest'
import { instanceOf } from '../../../tests/support/control-records.ts'
import type { Phase } from '../../contracts/phase.ts'
import { VERBS } from './instance-verbs.ts'

const common = { reason: 'requested' as const, sinceMs: 0, attempt: 0, lastError: null }
const exit = { code: 0, signal: null, oom: false, atMs: 0 }
const pause = (phase: Phase, want: 'running' | 'stopped' = 'running') => VERBS.pauseInstance(instanceOf({ name: 'web', want, phase }))

test.each<[Phase, 'running' | 'stopped']>([
  [{ kind: 'quarantined', ...common, untilMs: 1 }, 'running'],
  [{ kind: 'failed', ...common }, 'running'],
  [{ kind: 'completed', ...common, exit }, 'running'],
  [{ kind: 'stopped', ...common, exit: null }, 'stopped'],
  [{ kind: 'stopped', ...common, exit: null }, 'running'],
  [{ kind: 'stopping', ...common, towards: 'stopped' }, 'stopped'],
])('what is %j is not paused: wrong_state, with the state in words and as a field', (phase, want) => {
  expect(pause(phase, want)).toMatchObject({
    ok: false,
    error: { code: 'wrong_state', detail: expect.stringContaining(`web is ${phase.kind}`), fields: { state: phase.kind, want } },
  })
})

test.each<Phase>([
  { kind: 'running', ...common },
  { kind: 'degraded', ...common },
  { kind: 'starting', ...common },
  { kind: 'recovering', ...common, nextAttemptAtMs: 1 },
])('what runs or is on its way to it is paused: %j', (phase) => {
  expect(pause(phase)).toEqual({ ok: true, value: { verb: 'pause', want: 'paused' } })
})
