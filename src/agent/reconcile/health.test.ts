import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { InstanceId } from '../../contracts/ids.ts'
import type { CheckStanding } from '../../contracts/phase.ts'
import { DEFAULT_RELIABILITY } from '../../contracts/reliability.ts'
import type { Check } from '../../contracts/spec.ts'
import { type Measured, type Measurement, type PlannedCheck, plannedChecks } from '../model/check.ts'
import { foldMeasured, type HealthState, newHealth, verdict } from './health.ts'

const ID = InstanceId.parse('inst_00000000000000000001')
const PASS: Measurement = { kind: 'pass', detail: 'fine', durationMs: 1 }
const FAIL: Measurement = { kind: 'fail', reason: 'timeout', detail: 'no answer', durationMs: 1 }
const UNSURE: Measurement = { kind: 'inconclusive', detail: 'asleep', durationMs: 1 }

const check = (kind: PlannedCheck['kind'], given: Partial<PlannedCheck> = {}): PlannedCheck => ({
  name: kind,
  kind,
  intervalMs: 10_000,
  timeoutMs: 1000,
  failureThreshold: 3,
  successThreshold: 1,
  recoveryThreshold: 2,
  graceMs: 0,
  ...given,
})

interface Fact {
  readonly index?: number
  readonly ageMs?: number
  readonly wokenLate?: boolean
}
const measured = (measurement: Measurement, { index = 0, ageMs = 1e9, wokenLate = false }: Fact): Measured => ({
  id: ID,
  incarnation: 1,
  index,
  atMs: 0,
  ageMs,
  wokenLate,
  measurement,
})

/** What the given measurements lead to, and the word after each. */
function outcomeOf(checks: readonly PlannedCheck[], measurements: readonly (Measurement | readonly [Measurement, Fact])[]) {
  let state: HealthState = newHealth(checks, false)
  const words = [verdict(state).health]
  const counted: boolean[] = []
  for (const given of measurements) {
    const [measurement, fact] = 'kind' in given ? [given, {}] : given
    const folded = foldMeasured(state, measured(measurement, fact))
    state = folded.state
    counted.push(folded.counted)
    words.push(verdict(state).health)
  }
  return { state, words, counted, verdict: verdict(state) }
}
const changes = (words: readonly string[]) => words.filter((word, at) => at > 0 && word !== words[at - 1])
const run = (pattern: string) => [...pattern].map((letter) => (letter === '+' ? PASS : letter === '-' ? FAIL : UNSURE))

describe('thresholds both ways', () => {
  test('T05: two failures and a pass never make it unhealthy, and the count is back at 0', () => {
    const { words, state } = outcomeOf([check('live')], run('+--+'))
    expect(words.slice(1)).toEqual(['healthy', 'healthy', 'healthy', 'healthy'])
    expect(state.standings[0]?.failuresInRow).toBe(0)
  })

  test('T06: unhealthy exactly at the third failure in a row, once', () => {
    const { words } = outcomeOf([check('live')], run('+-------'))
    expect(words.indexOf('unhealthy')).toBe(4)
    expect(changes(words)).toEqual(['healthy', 'unhealthy'])
  })

  test('T07: with a recovery threshold of 2, ok fail ok ok is healthy only after the last', () => {
    const { words } = outcomeOf([check('live')], run('+---+-++'))
    expect(words.slice(5)).toEqual(['unhealthy', 'unhealthy', 'unhealthy', 'healthy'])
    expect(changes(words)).toEqual(['healthy', 'unhealthy', 'healthy'])
  })

  test.each([1, 2, 5])('a success threshold of %i is what it takes to be ready the first time', (successThreshold) => {
    const { words } = outcomeOf([check('ready', { successThreshold })], run('+++++'))
    expect(words.indexOf('healthy')).toBe(successThreshold)
    expect(words.slice(0, successThreshold).every((word) => word === 'starting')).toBe(true)
  })

  test('property: it turns exactly when the row is long enough, and never twice in the same direction', () => {
    const threshold = fc.integer({ min: 1, max: 5 })
    fc.assert(
      fc.property(
        threshold,
        threshold,
        threshold,
        fc.array(fc.constantFrom(PASS, FAIL), { maxLength: 60 }),
        (failureThreshold, successThreshold, recoveryThreshold, history) => {
          const { state } = outcomeOf([check('live', { failureThreshold, successThreshold, recoveryThreshold })], history)
          let passing: boolean | null = null
          let row = 0
          for (const [at, { kind }] of history.entries()) {
            row = at > 0 && history[at - 1]?.kind === kind ? row + 1 : 1
            if (kind === 'fail' && row >= failureThreshold) passing = false
            if (kind === 'pass' && row >= (passing === false ? recoveryThreshold : successThreshold)) passing = true
          }
          expect(state.standings[0]?.passing).toBe(passing)
        },
      ),
    )
  })

  test('property: one failure fewer than the threshold, however often, never makes it unhealthy', () => {
    fc.assert(
      fc.property(fc.integer({ min: 2, max: 6 }), fc.array(fc.integer({ min: 0, max: 4 }), { maxLength: 20 }), (failureThreshold, rows) => {
        const history = rows.flatMap((length) => [PASS, ...Array.from({ length: Math.min(length, failureThreshold - 1) }, () => FAIL)])
        expect(outcomeOf([check('live', { failureThreshold })], history).words).not.toContain('unhealthy')
      }),
    )
  })
})

describe('what does not count', () => {
  test('failures within the grace after the start', () => {
    const grace = { graceMs: 5000 }
    const { words, counted, state } = outcomeOf(
      [check('live', grace)],
      [...Array.from({ length: 9 }, () => [FAIL, { ageMs: 4999 }] as const), [FAIL, { ageMs: 5000 }]],
    )
    expect(words).not.toContain('unhealthy')
    expect(counted.lastIndexOf(false)).toBe(8)
    expect(state.standings[0]?.failuresInRow).toBe(1)
  })

  test('T44: inconclusive measurements, in any number and order, turn nothing', () => {
    expect(changes(outcomeOf([check('live')], run('+????????')).words)).toEqual(['healthy'])
    expect(changes(outcomeOf([check('live')], run('+---????')).words)).toEqual(['healthy', 'unhealthy'])
    expect(outcomeOf([check('live')], run('+-?')).counted).toEqual([true, true, false])
  })

  test('T44: after the agent was asleep a row begins anew: one failure on waking is one failure', () => {
    const asleep = outcomeOf([check('live')], [PASS, FAIL, FAIL, [FAIL, { wokenLate: true }]])
    expect(asleep.verdict.health).toBe('healthy')
    expect(asleep.state.standings[0]?.failuresInRow).toBe(1)
    expect(outcomeOf([check('live')], [PASS, FAIL, FAIL, [FAIL, { wokenLate: true }], FAIL, FAIL]).verdict.health).toBe('unhealthy')
  })

  test('T44: the wall clock plays no part: only age and rows do', () => {
    const state = newHealth([check('live')], false)
    const fold = (from: HealthState, atMs: number) => foldMeasured(from, { ...measured(FAIL, {}), atMs }).state
    const jumped = [3_600_000, -3_600_000, 0].reduce(fold, state)
    const steady = [0, 0, 0].reduce(fold, state)
    expect(jumped.standings.map(({ lastAtMs, ...rest }) => rest)).toEqual(steady.standings.map(({ lastAtMs, ...rest }) => rest))
  })

  test('a measurement of a check that does not exist', () => {
    const { state, counted } = outcomeOf([check('live')], [[FAIL, { index: 7 }]])
    expect(counted).toEqual([false])
    expect(state).toEqual(newHealth([check('live')], false))
  })
})

describe('kinds', () => {
  const START = check('start', { graceMs: 5000, failureThreshold: 3, intervalMs: 1000 })

  test('a start check gates the others: their failures do not count until it has passed', () => {
    const checks = [START, check('live')]
    const { words, state } = outcomeOf(checks, [
      ...Array.from({ length: 5 }, () => [FAIL, { index: 1 }] as const),
      [PASS, { index: 0, ageMs: 100 }],
      [PASS, { index: 1 }],
    ])
    expect(changes(words)).toEqual(['healthy'])
    expect(words[0]).toBe('starting')
    expect(state.standings[1]?.failuresInRow).toBe(0)
  })

  test('a start check that still fails after grace and threshold times interval has lost the attempt, not before', () => {
    const many = (ageMs: number) => Array.from({ length: 50 }, () => [FAIL, { ageMs }] as const)
    expect(outcomeOf([START], many(7999)).verdict).toMatchObject({ health: 'starting', startFailed: false })
    expect(outcomeOf([START], [...many(7999), [FAIL, { ageMs: 8000 }]]).verdict).toMatchObject({
      health: 'unhealthy',
      startFailed: true,
      detail: expect.stringContaining('start'),
    })
    // Late, but not often enough: a slow agent is no evidence.
    expect(
      outcomeOf(
        [START],
        [
          [FAIL, { ageMs: 60_000 }],
          [FAIL, { ageMs: 60_001 }],
        ],
      ).verdict.startFailed,
    ).toBe(false)
  })

  test('a start that was given up for late and passes after all is no longer held against it, by as many passes as prove a start', () => {
    const late = Array.from({ length: 50 }, () => [FAIL, { ageMs: 20_000 }] as const)
    expect(outcomeOf([START], late).verdict.startFailed).toBe(true)
    expect(outcomeOf([START], [...late, PASS]).verdict).toMatchObject({ health: 'healthy', startFailed: false })
  })

  test('what was verified before has proven its start, and nothing else: it is healthy when something passes', () => {
    const state = newHealth([check('engine'), START], true)
    expect(verdict(state)).toMatchObject({ health: 'unknown', startFailed: false })
    const { state: seen } = foldMeasured(state, measured(PASS, {}))
    expect(verdict(seen)).toMatchObject({ health: 'healthy', startFailed: false })
  })

  test('a proven start stays proven', () => {
    expect(outcomeOf([START], [[PASS, { ageMs: 1 }], ...run('-----')]).verdict).toMatchObject({ health: 'healthy', startFailed: false })
  })

  test('ready gates healthy: running, but starting until it passes', () => {
    const checks = [check('engine'), check('ready'), check('ready')]
    expect(outcomeOf(checks, [PASS]).verdict).toMatchObject({ health: 'starting', gated: true })
    expect(outcomeOf(checks, [PASS, [PASS, { index: 1 }]]).verdict.health).toBe('starting')
    expect(outcomeOf(checks, [PASS, [PASS, { index: 1 }], [PASS, { index: 2 }]]).verdict.health).toBe('healthy')
  })

  test('T27: readiness lost is unhealthy without a reason to restart; engine and live give one', () => {
    const lost = (kind: CheckStanding['kind']) => outcomeOf([check(kind)], run('+---')).verdict
    expect(lost('ready')).toMatchObject({ health: 'unhealthy', reason: null, startFailed: false })
    expect(lost('live')).toMatchObject({ health: 'unhealthy', reason: 'health_check_failed' })
    expect(lost('engine')).toMatchObject({ health: 'unhealthy', reason: 'socket_unreachable' })
  })

  test('the verdict names the check that fails and what it said', () => {
    const checks = [check('engine'), check('live', { name: 'http 80/live' }), check('ready', { name: 'tcp 80' })]
    const { detail } = outcomeOf(checks, [
      ...Array.from({ length: 3 }, () => [FAIL, { index: 2 }] as const),
      ...Array.from({ length: 3 }, () => [FAIL, { index: 1 }] as const),
    ]).verdict
    expect(detail).toBe('Check http 80/live: no answer (3 in a row).')
  })

  test('without checks of the user the engine alone says healthy; an engine that cannot be asked says nothing', () => {
    expect(outcomeOf([check('engine')], [PASS]).verdict).toMatchObject({ health: 'healthy', gated: false })
    expect(outcomeOf([check('engine')], [UNSURE]).verdict.health).toBe('unknown')
    expect(outcomeOf([check('engine'), check('ready')], [UNSURE, [PASS, { index: 1 }]]).verdict.health).toBe('healthy')
  })

  test('property: whatever happens, healthy means nothing fails and every ready and start check passes', () => {
    const kinds = fc.array(fc.constantFrom<CheckStanding['kind'][]>('engine', 'start', 'ready', 'live'), { minLength: 1, maxLength: 4 })
    const step = fc.record({ index: fc.nat(3), what: fc.constantFrom(PASS, FAIL, UNSURE), ageMs: fc.nat(100_000), wokenLate: fc.boolean() })
    fc.assert(
      fc.property(kinds, fc.array(step, { maxLength: 80 }), (given, steps) => {
        const checks = given.map((kind) => check(kind, { graceMs: 5000, intervalMs: 1000 }))
        const { state, verdict: said } = outcomeOf(
          checks,
          steps.map(({ what, ...fact }) => [what, fact] as const),
        )
        const of = (...wanted: CheckStanding['kind'][]) => state.standings.filter(({ kind }) => wanted.includes(kind))
        if (said.health === 'healthy') {
          expect(state.standings.some(({ passing }) => passing === false)).toBe(false)
          expect(of('start', 'ready').every(({ passing }) => passing === true)).toBe(true)
        }
        if (said.startFailed) expect(of('start').some(({ passing }) => passing === false)).toBe(true)
        if (said.reason !== null) expect(said.health).toBe('unhealthy')
      }),
    )
  })
})

describe('the plan of checks', () => {
  const http: Check = {
    type: 'http',
    kind: 'ready',
    port: 80,
    path: '/x',
    headers: {},
    status: null,
    intervalMs: 7000,
    timeoutMs: 700,
    failureThreshold: 4,
    successThreshold: 1,
    graceMs: 9,
  }

  test('engine first with the numbers of the node, then the own ones in order with their own numbers', () => {
    const [engine, own] = plannedChecks({ health: [http] }, DEFAULT_RELIABILITY.healthCheck)
    expect(engine).toEqual({
      name: 'engine',
      kind: 'engine',
      intervalMs: 30_000,
      timeoutMs: 5000,
      failureThreshold: 3,
      successThreshold: 1,
      recoveryThreshold: 2,
      graceMs: 0,
    })
    expect(own).toEqual({
      name: 'http 80/x',
      kind: 'ready',
      intervalMs: 7000,
      timeoutMs: 700,
      failureThreshold: 4,
      successThreshold: 1,
      recoveryThreshold: 2,
      graceMs: 9,
    })
  })

  test('the recovery threshold of the node is the least; a higher success threshold stays', () => {
    const planned = (successThreshold: number, recoveryThreshold: number) =>
      plannedChecks({ health: [{ ...http, successThreshold }] }, { ...DEFAULT_RELIABILITY.healthCheck, recoveryThreshold })[1]
        ?.recoveryThreshold
    expect([planned(1, 2), planned(5, 2), planned(1, 1)]).toEqual([2, 5, 1])
  })

  test('the name of an exec check does not show its arguments', () => {
    const exec: Check = {
      type: 'exec',
      kind: 'live',
      command: ['curl', '-u', 'user:secret'],
      intervalMs: 1,
      timeoutMs: 1,
      failureThreshold: 1,
      successThreshold: 1,
      graceMs: 0,
    }
    expect(plannedChecks({ health: [exec] }, DEFAULT_RELIABILITY.healthCheck)[1]?.name).toBe('exec curl')
  })
})
