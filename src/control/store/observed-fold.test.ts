import { describe, expect, test } from 'vitest'
import { instanceId, phaseOf } from '../../../tests/support/control-records.ts'
import { observedOf, transitionOf } from '../../../tests/support/store-seeds.ts'
import { foldObserved, type Known } from './observed-fold.ts'

const id = instanceId(1)
const { id: _id, generation: _g, incarnation: _i, phase: _p, transitions: _t, ...REST } = observedOf(id)
const KNOWN: Known = {
  want: 'running',
  state: 'running',
  observedGeneration: 2,
  observedEpoch: 5,
  incarnation: 1,
  lastTransitionSeq: 4,
  observed: REST,
}
const fold = (known: Partial<Known>, item: Parameters<typeof observedOf>[1], epoch = 5) =>
  foldObserved({ ...KNOWN, ...known }, observedOf(id, item), epoch, 99)

describe('folding an observation', () => {
  test('the same thing again changes nothing', () => {
    expect(fold({}, {})).toBeNull()
    expect(fold({}, { transitions: [transitionOf(3, 'placed', 'starting'), transitionOf(4, 'starting', 'running')] })).toBeNull()
  })

  test('each transition counts once and in the order of its number', () => {
    const transitions = [
      transitionOf(6, 'recovering', 'running'),
      transitionOf(4, 'starting', 'running'),
      transitionOf(5, 'running', 'recovering'),
    ]
    const result = fold({}, { transitions, incarnation: 2 })
    expect(result?.steps.map((step) => [step.from, step.to.kind])).toEqual([
      ['running', 'recovering'],
      ['recovering', 'running'],
    ])
    expect(result).toMatchObject({ lastTransitionSeq: 6, incarnation: 2, notable: true })
  })

  test('what cloud-init did stays known when its container has gone, until the next incarnation has its own', () => {
    const cloudInit = { done: true, steps: [{ step: 'runcmd[0]', ok: false, exitCode: 3, output: 'told' }], unsupported: [] }
    const known = { observed: { ...REST, cloudInit } }
    const collected = fold(known, { phase: phaseOf('failed'), transitions: [transitionOf(5, 'running', 'failed')] }, 6)
    expect(collected?.rest.cloudInit).toEqual(cloudInit)
    expect(fold(known, {})).toBeNull()
    expect(fold(known, { incarnation: 2 })?.rest.cloudInit).toBeNull()
    const own = { ...cloudInit, steps: [] }
    expect(fold(known, { cloudInit: own })?.rest.cloudInit).toEqual(own)
  })

  test('within a session a lower generation or incarnation is a leftover and is ignored whole', () => {
    expect(
      fold({ incarnation: 3 }, { incarnation: 2, phase: phaseOf('failed'), transitions: [transitionOf(9, 'running', 'failed')] }),
    ).toBeNull()
    expect(fold({ observedGeneration: 3 }, { generation: 2, phase: phaseOf('failed') })).toBeNull()
  })

  test('within a session a word before a later step is a leftover, also when it has no step of its own to tell any more', () => {
    const failed = { state: 'failed', lastTransitionSeq: 18 } as const
    const starting = {
      phase: phaseOf('starting'),
      transitions: [transitionOf(16, 'failed', 'preparing'), transitionOf(17, 'preparing', 'starting')],
    }
    expect(fold(failed, starting)).toBeNull()
    expect(fold(failed, { ...starting, transitions: [] })).toBeNull()
    // The same state at an older step: what was seen then is not what was seen last.
    expect(fold({ lastTransitionSeq: 18 }, { transitions: [transitionOf(17, 'running', 'running')], notes: [] })).toBeNull()
    // A new session may have lost its numbers.
    expect(fold(failed, starting, 6)?.steps).toMatchObject([{ from: 'failed', to: { kind: 'starting' } }])
  })

  test('a new session is believed even with lower numbers: the agent may have lost its disk', () => {
    expect(fold({ incarnation: 3, observedGeneration: 4 }, { incarnation: 1, generation: 2 }, 6)).toMatchObject({
      incarnation: 1,
      generation: 2,
      steps: [],
    })
  })

  test('a state that moved without a numbered step still leaves one in the history', () => {
    expect(fold({ state: 'lost' }, {})?.steps).toMatchObject([{ from: 'lost', to: { kind: 'running' }, atMs: 99 }])
    const result = fold({ state: 'lost' }, { transitions: [transitionOf(5, 'running', 'recovering')] })
    expect(result?.steps.map((step) => step.to.kind)).toEqual(['recovering', 'running'])
  })

  test('only what was to be deleted is gone', () => {
    const deleted = { phase: phaseOf('deleted'), transitions: [transitionOf(5, 'running', 'deleted')] }
    expect(fold({ want: 'deleted' }, deleted)?.gone).toBe(true)
    expect(fold({ want: 'running' }, deleted)?.gone).toBe(false)
  })

  test('the standing of a check is stored but wakes nobody; health, addresses and notes do', () => {
    const check = {
      name: 'http',
      kind: 'ready' as const,
      passing: true,
      failuresInRow: 0,
      successesInRow: 9,
      lastDetail: 'ok',
      lastAtMs: 1,
    }
    expect(fold({}, { checks: [check] })).toMatchObject({ notable: false })
    expect(fold({}, { health: 'unhealthy' })).toMatchObject({ notable: true })
    expect(fold({}, { notes: ['limits: not enforced here'] })).toMatchObject({ notable: true })
  })

  test('the order of members as PostgreSQL returns them is no change', () => {
    const reordered = Object.fromEntries(Object.entries(REST).toReversed())
    expect(fold({ observed: reordered }, {})).toBeNull()
  })
})
