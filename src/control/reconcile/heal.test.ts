import fc from 'fast-check'
import { assert, describe, expect, test } from 'vitest'
import { instanceId, instanceOf, nodeId, orgId, phaseOf, SLEEPER, specOf } from '../../../tests/support/control-records.ts'
import { ERRORS, type ErrorCode } from '../../contracts/errors.ts'
import { PHASE_KINDS, type Phase, REASONS } from '../../contracts/phase.ts'
import type { HealRecord } from '../model/heal.ts'
import type { InstanceRecord } from '../model/instance.ts'
import { decideHeal, type HealFacts, type HealPolicy } from './heal.ts'

const POLICY: HealPolicy = {
  safetyDelayMs: 5000,
  attemptsMax: 5,
  backoff: { baseMs: 30_000, factor: 2, maxMs: 300_000 },
  stableAfterMs: 600_000,
  lookAgainMs: 30_000,
}
const NOW = 1_800_000_000_000
const error = (code: ErrorCode) => ({ code, detail: 'it broke', atMs: NOW })

const failed = (given: Partial<InstanceRecord> = {}, phase: Partial<Phase> = {}) =>
  instanceOf({
    nodeId: nodeId('a'),
    generation: 3,
    observedGeneration: 3,
    phase: phaseOf('failed', { reason: 'start_failed', sinceMs: NOW - 60_000, lastError: error('image_pull_failed'), ...phase }),
    ...given,
  })
const work = (given: Partial<HealRecord> = {}): HealRecord => ({
  instanceId: instanceId(1),
  orgId: orgId(1),
  generation: 3,
  givenUp: false,
  dueAtMs: NOW,
  attempts: 0,
  reason: 'failed',
  lastError: null,
  createdAtMs: NOW - 5000,
  ...given,
})
const facts = (given: Partial<HealFacts> = {}): HealFacts => ({
  instance: failed(),
  work: work(),
  nodeConnected: true,
  nodeFenced: false,
  otherNode: false,
  ...given,
})
const decide = (given: Partial<HealFacts> = {}, nowMs = NOW) => decideHeal(facts(given), POLICY, nowMs, 0)
const lost = (given: Partial<InstanceRecord> = {}) =>
  failed({ phase: phaseOf('lost', { reason: 'node_lost', sinceMs: NOW - 60_000 }), ...given })

describe('what the healer acts on', () => {
  test('a failed provisioning is healed in place, as the first attempt, with its cause', () => {
    expect(decide()).toEqual({ kind: 'heal', how: 'restart', attempt: 1, nextDueAtMs: NOW + 30_000, because: 'image_pull_failed' })
  })

  test.each(['stopped', 'paused', 'deleted'] as const)('wished %s: never healed, the work is dropped', (want) => {
    expect(decide({ instance: failed({ want }) })).toMatchObject({ kind: 'drop', outcome: 'cancelled' })
  })

  test('a newer wish by somebody else ends the work', () => {
    expect(decide({ instance: failed({ generation: 4 }) })).toMatchObject({ kind: 'drop', outcome: 'cancelled' })
  })

  test.each([
    'pending',
    'placed',
    'preparing',
    'starting',
    'degraded',
    'paused',
    'stopping',
    'stopped',
    'recovering',
    'crash_looping',
    'quarantined',
  ] as const)('C12: %s is left to the node', (kind) => {
    const phase = { ...failed().phase, kind, nextAttemptAtMs: 0, untilMs: 0, exit: null } as unknown as Phase
    expect(decide({ instance: failed({ phase }) })).toMatchObject({ kind: 'wait', untilMs: NOW + POLICY.lookAgainMs })
  })

  test.each<[string, Partial<InstanceRecord>, Partial<Phase>]>([
    ['an error that trying again cannot mend', {}, { lastError: error('image_not_found') }],
    ['a permanent error of whatever code', {}, { reason: 'permanent_error' }],
    ['recovery off on the node', {}, { reason: 'recovery_off', lastError: error('process_dead') }],
    ['recovery off for the instance', { recoveryMode: 'off' }, {}],
    ['recovery observe for the instance', { recoveryMode: 'observe' }, {}],
    [
      'a one-shot that ran and failed',
      { spec: specOf({ ...SLEEPER, restart: { policy: 'never' } }) },
      { reason: 'exited_error', lastError: error('memory_limit_exceeded') },
    ],
  ])('%s is never tried, and not announced as a give-up', (_name, instance, phase) => {
    expect(decide({ instance: failed(instance, phase) })).toMatchObject({ kind: 'give_up', announce: false })
  })

  test('a one-shot that could not be started has not had its run yet', () => {
    expect(decide({ instance: failed({ spec: specOf({ ...SLEEPER, restart: { policy: 'never' } }) }) })).toMatchObject({ kind: 'heal' })
  })

  test('a failure without a recorded error is not forgotten', () => {
    expect(decide({ instance: failed({}, { lastError: null }) })).toMatchObject({ kind: 'heal', because: 'start_failed' })
  })
})

describe('when', () => {
  test('not before the state has lasted five seconds', () => {
    const young = failed({}, { sinceMs: NOW - 4999 })
    expect(decide({ instance: young })).toEqual({ kind: 'wait', untilMs: NOW + 1, because: 'safety delay' })
    expect(decide({ instance: young }, NOW + 1)).toMatchObject({ kind: 'heal' })
  })

  test('not before the row is due', () => {
    expect(decide({ work: work({ dueAtMs: NOW + 1 }) })).toEqual({ kind: 'wait', untilMs: NOW + 1, because: 'backing off' })
  })

  test('a node whose clock runs ahead does not hold up its own healing', () => {
    expect(decide({ instance: failed({}, { sinceMs: NOW + 3_600_000 }) })).toMatchObject({ kind: 'heal' })
  })

  test('the waits between attempts double to five minutes, less at most a fifth', () => {
    const waits = [0, 1, 2, 3, 4].map((attempts) => {
      const [longest, shortest] = [0, 0.999].map((fraction) => decideHeal(facts({ work: work({ attempts }) }), POLICY, NOW, fraction))
      assert(longest?.kind === 'heal' && shortest?.kind === 'heal')
      expect(shortest.nextDueAtMs - NOW).toBeGreaterThanOrEqual((longest.nextDueAtMs - NOW) * 0.8)
      return longest.nextDueAtMs - NOW
    })
    expect(waits).toEqual([30_000, 60_000, 120_000, 240_000, 300_000])
  })

  test('a node that cannot hear costs no attempt', () => {
    expect(decide({ nodeConnected: false })).toMatchObject({ kind: 'wait', because: 'its node is not connected' })
  })

  test('a wish of somebody else that the node has not answered yet is not overtaken', () => {
    expect(decide({ instance: failed({ observedGeneration: 2 }) })).toMatchObject({
      kind: 'wait',
      because: 'its node has not acted on the newest wish yet',
    })
  })

  test('an attempt the node never acted on counts, and is made again when its backoff is over', () => {
    expect(decide({ instance: failed({ healSeq: 1 }), work: work({ attempts: 1 }) })).toMatchObject({
      kind: 'heal',
      attempt: 2,
      because: 'the node did not act on the last attempt',
    })
  })
})

describe('how it ends', () => {
  test('five attempts that were not enough are given up, aloud and once', () => {
    expect(decide({ work: work({ attempts: 5 }) })).toMatchObject({ kind: 'give_up', announce: true, because: 'image_pull_failed' })
    expect(decide({ work: work({ attempts: 5, givenUp: true }) })).toMatchObject({ kind: 'give_up', announce: false })
  })

  test('a run of ten minutes is a success; a shorter one keeps the count', () => {
    const running = (sinceMs: number) => failed({ phase: phaseOf('running', { sinceMs }) })
    expect(decide({ instance: running(NOW - 599_999), work: work({ attempts: 2 }) })).toMatchObject({ kind: 'wait', untilMs: NOW + 1 })
    expect(decide({ instance: running(NOW - 600_000), work: work({ attempts: 2 }) })).toMatchObject({ kind: 'drop', outcome: 'succeeded' })
    expect(decide({ instance: running(NOW - 600_000) })).toMatchObject({ kind: 'drop', outcome: 'cancelled' })
  })

  test('the node recovering by itself after a give-up frees the row in the end', () => {
    const instance = failed({ phase: phaseOf('running', { sinceMs: NOW - 600_000 }) })
    expect(decide({ instance, work: work({ attempts: 5, givenUp: true }) })).toMatchObject({ kind: 'drop' })
  })
})

describe('a lost instance', () => {
  test('waits visibly while its silent node may still run it', () => {
    expect(decide({ instance: lost(), otherNode: true })).toMatchObject({
      kind: 'wait',
      because: 'its node is silent but may still run it',
    })
  })

  test('waits visibly while nobody else can take it', () => {
    expect(decide({ instance: lost(), nodeFenced: true })).toMatchObject({
      kind: 'wait',
      because: 'its node is gone and no other one can take it',
    })
  })

  test('is placed elsewhere when its node is fenced and another can take it', () => {
    expect(decide({ instance: lost(), nodeFenced: true, otherNode: true })).toMatchObject({
      kind: 'heal',
      how: 'replace',
      because: 'node_lost',
    })
  })

  test.each(['off', 'observe'] as const)('stays lost where recovery is %s', (recoveryMode) => {
    expect(decide({ instance: lost({ recoveryMode }), nodeFenced: true, otherNode: true })).toMatchObject({
      kind: 'give_up',
      announce: false,
    })
  })

  test('a one-shot is not run a second time', () => {
    const instance = lost({ spec: specOf({ ...SLEEPER, restart: { policy: 'never' } }) })
    expect(decide({ instance, nodeFenced: true, otherNode: true })).toMatchObject({ kind: 'wait' })
  })
})

describe('properties over all facts', () => {
  const factsArb = fc
    .record({
      // Mostly those that are healed: each of the others is waved through by one line.
      kind: fc.oneof(fc.constantFrom('failed', 'lost' as const), fc.constantFrom(...PHASE_KINDS)),
      reason: fc.constantFrom(...REASONS),
      code: fc.option(fc.constantFrom(...(Object.keys(ERRORS) as ErrorCode[]))),
      ageMs: fc.integer({ min: -10_000, max: 1_000_000 }),
      want: fc.constantFrom('running', 'running', 'stopped', 'paused', 'deleted' as const),
      generation: fc.integer({ min: 1, max: 3 }),
      seenGeneration: fc.integer({ min: 1, max: 3 }),
      mode: fc.constantFrom(null, 'on', 'observe', 'off' as const),
      attempts: fc.integer({ min: 0, max: 6 }),
      dueInMs: fc.integer({ min: -10_000, max: 10_000 }),
      givenUp: fc.boolean(),
      nodeConnected: fc.boolean(),
      nodeFenced: fc.boolean(),
      otherNode: fc.boolean(),
    })
    .map(({ kind, reason, code, ageMs, want, generation, seenGeneration, mode, attempts, dueInMs, givenUp, ...rest }): HealFacts => {
      const phase = {
        kind,
        reason,
        sinceMs: NOW - ageMs,
        attempt: 0,
        lastError: code === null ? null : error(code),
        nextAttemptAtMs: 0,
        untilMs: 0,
        exit: null,
      } as unknown as Phase
      return {
        instance: failed({ want: want as InstanceRecord['want'], generation, recoveryMode: mode as InstanceRecord['recoveryMode'], phase }),
        work: work({ generation: seenGeneration, attempts, dueAtMs: NOW + dueInMs, givenUp }),
        ...rest,
      }
    })

  test('C12: it heals only what is failed or lost, wished running, not newer, not permanent, due, within budget and permitted', () => {
    fc.assert(
      fc.property(factsArb, fc.double({ min: 0, max: 0.999, noNaN: true }), (given, fraction) => {
        const decision = decideHeal(given, POLICY, NOW, fraction)
        if (decision.kind !== 'heal') return
        const { instance, work: row } = given
        assert(instance.phase.kind === 'failed' || instance.phase.kind === 'lost')
        assert(instance.want === 'running' && instance.generation <= row.generation && !row.givenUp)
        assert(row.dueAtMs <= NOW && row.attempts < POLICY.attemptsMax)
        assert(instance.recoveryMode === null || instance.recoveryMode === 'on')
        assert(
          instance.phase.kind === 'lost'
            ? decision.how === 'replace' && given.nodeFenced && given.otherNode
            : decision.how === 'restart' && given.nodeConnected,
        )
        assert(instance.phase.kind === 'lost' || !instance.phase.lastError || ERRORS[instance.phase.lastError.code].retry !== 'never')
        const ageMs = NOW - instance.phase.sinceMs
        assert(ageMs < 0 || ageMs >= POLICY.safetyDelayMs)
        assert(decision.nextDueAtMs - NOW >= 24_000 && decision.nextDueAtMs - NOW <= 300_000)
      }),
      { numRuns: 2000 },
    )
  })

  test('nothing is forgotten and nothing spins: every answer that keeps the row comes back later, and every wait is bounded', () => {
    fc.assert(
      fc.property(factsArb, (given) => {
        const decision = decideHeal(given, POLICY, NOW, 0.5)
        if (decision.kind === 'wait' || decision.kind === 'give_up') assert(decision.untilMs > NOW && decision.untilMs <= NOW + 3_600_000)
        if (decision.kind === 'drop') {
          const { kind } = given.instance.phase
          const open = given.instance.want === 'running' && given.instance.generation <= given.work.generation
          assert(!open || kind === 'running' || kind === 'completed' || kind === 'deleted')
        }
      }),
      { numRuns: 2000 },
    )
  })
})
