// T34: what a person's `recover` comes to, for each state.
import { describe, expect, test } from 'vitest'
import { instanceOf, phaseOf } from '../../../tests/support/control-records.ts'
import { type InstanceRecord, NOTHING_OBSERVED } from '../model/instance.ts'
import { decideRecover } from './recover-verb.ts'

const begun = { ok: true, value: { verb: 'recover', recover: true } }
const joined = { ok: true, value: null }
const RECOVERING = { ...phaseOf('failed'), kind: 'recovering', nextAttemptAtMs: 1 } as const
const refused = (code: string) => ({ ok: false, error: { code } })
const told = (health: 'healthy' | 'unhealthy', recovery?: 'off' | 'observe'): InstanceRecord['observed'] => ({
  ...NOTHING_OBSERVED,
  health,
  ...(recovery && { modes: { recovery: { mode: recovery, setOn: 'node' }, checks: { mode: 'on', setOn: 'node' } } }),
})

describe('recover', () => {
  test.each<[string, Partial<InstanceRecord>, object, object]>([
    ['an orphan', { phase: RECOVERING }, begun, begun],
    ['a crash loop', { phase: { ...RECOVERING, kind: 'crash_looping' } }, begun, begun],
    ['a quarantine', { phase: { ...phaseOf('failed'), kind: 'quarantined', untilMs: 1 } }, begun, begun],
    ['what failed', { phase: phaseOf('failed') }, begun, begun],
    ['what is degraded', { phase: phaseOf('degraded'), observed: told('unhealthy') }, begun, begun],
    [
      'what runs and is not ready any more',
      { phase: phaseOf('running', { reason: 'verified' }), observed: told('unhealthy') },
      begun,
      begun,
    ],
    ['a start under way', { phase: phaseOf('preparing') }, joined, begun],
    ['an object being made', { phase: phaseOf('starting') }, joined, begun],
    ['one that has to prove itself', { phase: phaseOf('running', { reason: 'waiting_for_checks' }) }, joined, begun],
    [
      'what runs and is well',
      { phase: phaseOf('running', { reason: 'verified' }), observed: told('healthy') },
      refused('wrong_state'),
      begun,
    ],
    ['what somebody froze', { phase: phaseOf('paused', { reason: 'paused_outside' }) }, refused('wrong_state'), begun],
    ['what is wished stopped', { want: 'stopped', phase: RECOVERING }, refused('wrong_state'), refused('wrong_state')],
    ['what is being deleted', { want: 'deleted', phase: phaseOf('failed') }, refused('wrong_state'), refused('wrong_state')],
    ['recovery off for it', { recoveryMode: 'off', phase: phaseOf('failed') }, refused('recovery_off'), refused('recovery_off')],
    [
      'recovery off on its env',
      { envModes: { recovery: 'off', checks: null }, phase: phaseOf('failed') },
      refused('recovery_off'),
      refused('recovery_off'),
    ],
    [
      'recovery off on its node',
      { observed: told('healthy', 'off'), phase: phaseOf('failed') },
      refused('recovery_off'),
      refused('recovery_off'),
    ],
    ['observe: only what is automatic rests', { observed: told('healthy', 'observe'), phase: phaseOf('failed') }, begun, begun],
    [
      'on for it where its env is off',
      { recoveryMode: 'on', envModes: { recovery: 'off', checks: null }, phase: phaseOf('failed') },
      begun,
      begun,
    ],
  ])('T34: %s', (_, given, plain, forced) => {
    expect(decideRecover(instanceOf(given))).toMatchObject(plain)
    expect(decideRecover(instanceOf(given), true)).toMatchObject(forced)
  })

  test('what runs and is well: the refusal names the way to replace it', () => {
    const answer = decideRecover(instanceOf({ name: 'web', phase: phaseOf('running', { reason: 'verified' }), observed: told('healthy') }))
    expect(answer).toMatchObject({ error: { detail: expect.stringContaining('holdfast recover web --force') } })
  })
})
