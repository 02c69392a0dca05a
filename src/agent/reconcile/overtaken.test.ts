// Lives the planner did not begin itself, and wishes that overtake a start.
import { describe, expect, test } from 'vitest'
import { POLICY, specOf, World } from '../../../tests/support/plan-world.ts'
import { failure } from '../../contracts/errors.ts'
import type { SeenObject } from '../model/plan.ts'
import { plan } from './plan.ts'

const object = (change: Partial<SeenObject>): SeenObject => ({
  incarnation: 1,
  nonce: 'of an unknown life',
  state: 'dead',
  exit: null,
  matches: true,
  startedAtMs: 1,
  ...change,
})

describe('the journal of an instance was lost, its objects were not', () => {
  test('dead incarnations of the unknown life are not taken for the new one, the living one is replaced once', () => {
    const world = new World()
    world.objects = [object({}), object({ incarnation: 2 }), object({ incarnation: 3, state: 'running' })]
    world.settle().pass(20_000)
    expect(world.actions.map(({ kind }) => kind)).toEqual(['prepare', 'stop', 'start'])
    expect(world.record).toMatchObject({ incarnation: 4, verified: true, failures: 0, phase: { kind: 'running' } })
  })
  test('also when the runtime could not be asked before', () => {
    const world = new World()
    world.reachable = false
    world.settle()
    expect(world.record).toMatchObject({ incarnation: 1, phase: { kind: 'starting' } })
    world.reachable = true
    world.objects = [object({ state: 'running' }), object({ incarnation: 2 })]
    world.pass(5000).pass(20_000)
    expect(world.record).toMatchObject({ incarnation: 3, verified: true, failures: 0, phase: { kind: 'running' } })
    expect(world.alive()).toMatchObject([{ incarnation: 3 }])
  })
  test('deleted before anything else: every object goes', () => {
    const world = new World({ want: 'deleted' })
    world.objects = [object({}), object({ incarnation: 2, state: 'running' })]
    world.settle()
    expect(world.kind).toBe('deleted')
    expect(world.objects).toEqual([])
  })
  test.each(['deleted', 'stopped'] as const)(
    '%s while the runtime does not answer: not told before the runtime showed what is left',
    (want) => {
      const world = new World({ want })
      world.objects = [object({}), object({ incarnation: 2, state: 'running' })]
      world.reachable = false
      world.settle().pass(600_000)
      expect(world.record.phase).toMatchObject({ kind: 'stopping', towards: want, reason: 'runtime_unreachable' })
      expect(world.wakeAtMs).toBeGreaterThan(world.nowMs)
      world.reachable = true
      world.pass(5000)
      expect(world.record.phase).toMatchObject({ kind: want, reason: 'requested' })
      expect(world.alive()).toEqual([])
      if (want === 'deleted') expect(world.objects).toEqual([])
    },
  )
  test.each(['on', 'observe', 'off'] as const)(
    'a start that the runtime failed before the life it replaces was stopped is made again by itself, with recovery %s',
    (mode) => {
      const world = new World()
      world.policy = { ...POLICY, mode }
      world.objects = [object({ nonce: 'of a lost journal', state: 'running' })]
      world.reachable = false
      const begun = plan(world.record, world.facts(null))
      const away = failure('runtime_unreachable', 'away')
      world.record = plan(begun.record, world.facts({ action: 'prepare', ok: false, failure: away })).record
      expect(world.settle().kind).toBe('failed')
      world.reachable = true
      world.settle()
      expect([world.kind, world.actions]).toEqual(['failed', []])
      world.toWake()
      expect(world.kind).toBe('running')
      expect(world.alive()).toMatchObject([{ incarnation: 2, nonce: world.record.nonce }])
    },
  )
  test('a shutdown does not wait for a runtime in which this agent started nothing', () => {
    const world = new World({ want: 'stopped' })
    world.reachable = false
    const facts = { ...world.facts(null), shutdown: true }
    const begun = plan(world.record, facts)
    expect(plan(begun.record, facts).record.phase.kind).toBe('stopped')
  })
})

describe('a wish that overtakes a start', () => {
  const recovering = () => {
    const world = new World().settle().pass(20_000)
    world.end(1, { code: 1, signal: null })
    const orphaned = plan(world.record, world.facts(null))
    const preparing = plan(orphaned.record, world.facts(null))
    expect(preparing.record).toMatchObject({ phase: { kind: 'preparing' }, episode: { attempts: 1 } })
    return { world, preparing: preparing.record }
  }
  test('a new spec between prepare and start is prepared too, not started unprepared and replaced a moment later', () => {
    const { world, preparing } = recovering()
    const ready = plan(preparing, world.facts({ action: 'prepare', ok: true }))
    expect(ready.record.phase.kind).toBe('starting')
    world.record = { ...ready.record, desired: { ...ready.record.desired, generation: 2, spec: specOf({ command: ['other'] }) } }
    world.actions.length = 0
    world.notes.length = 0
    world.settle().pass(5000)
    expect(world.actions.map(({ kind }) => kind)).toEqual(['prepare', 'start'])
    expect(world.notes.filter(({ kind }) => kind === 'episode_ended')).toMatchObject([{ outcome: 'cancelled', attempts: 1 }])
  })
  test.each([
    ['a new spec', { spec: specOf({ command: ['other'] }) }, 'cancelled'],
    ['a restart', { restartSeq: 1 }, 'cancelled'],
    ['a recovery', { recoverSeq: 1 }, 'success'],
  ] as const)('%s while preparing: one start, and the episode has one outcome', (_what, change, outcome) => {
    const { world, preparing } = recovering()
    world.actions.length = 0
    world.notes.length = 0
    world.record = { ...preparing, desired: { ...preparing.desired, ...change, generation: 2 } }
    world.settle().pass(5000)
    expect(world.actions.map(({ kind }) => kind)).toEqual(['prepare', 'start'])
    expect(world.notes.filter(({ kind }) => kind === 'episode_ended')).toMatchObject([{ outcome }])
  })
})

describe('a chosen port that a stranger took between an end and the next start', () => {
  const prepares = (world: World) => world.actions.filter((action) => action.kind === 'prepare').map(({ vacant }) => vacant)
  test('it may be looked at only while nothing of the instance lives', () => {
    const world = new World().settle().pass(20_000).crash()
    expect(prepares(world)).toEqual([true, true])
    world.record = { ...world.record, phase: { ...world.record.phase, kind: 'preparing' } }
    world.settle()
    expect(prepares(world)).toEqual([true, true, false])
    const blind = new World()
    blind.reachable = false
    expect(prepares(blind.settle())).toEqual([false])
  })
  test('the change is told with both numbers, and is no error any more once the start is verified', () => {
    const world = new World({ spec: specOf({ ports: [{ internal: 0 }] }) })
    world.hostPorts = [41_001]
    world.settle().pass(20_000)
    expect(world.notes.filter(({ kind }) => kind === 'port_changed')).toEqual([])
    world.hostPorts = [41_002]
    world.crash()
    expect(world.notes.filter(({ kind }) => kind === 'port_changed')).toEqual([{ kind: 'port_changed', was: 41_001, port: 41_002 }])
    expect(world.record).toMatchObject({ hostPorts: [41_002], phase: { kind: 'running', lastError: { code: 'port_in_use' } } })
    expect(world.record.phase.lastError?.detail).toMatch(/41001.*41002/)
    expect(world.pass(2000).record.phase.lastError).toBeNull()
  })
})
