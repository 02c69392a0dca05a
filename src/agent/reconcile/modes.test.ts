// Recovery and health checks switched off, to observe and on again while things happen; who asked for an attempt; when one has succeeded.
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { HEALTHY, POLICY, specOf, UNHEALTHY, World } from '../../../tests/support/plan-world.ts'
import { failure } from '../../contracts/errors.ts'
import { NO_MODES } from '../../contracts/modes.ts'
import { DEFAULT_RELIABILITY } from '../../contracts/reliability.ts'
import type { Note } from '../model/plan.ts'
import { specKey } from './moves.ts'
import { plan } from './plan.ts'
import { modesFor, recoveryPolicy } from './policy.ts'

const OFF = { ...POLICY, mode: 'off' } as const
const OBSERVE = { ...POLICY, mode: 'observe' } as const
const GATED = { ...HEALTHY, gated: true, health: 'starting' } as const
const PASSING = { ...GATED, health: 'healthy' } as const

const up = () => new World().settle().pass(20_000)
const outcomes = (world: World) => world.notes.flatMap((note) => (note.kind === 'episode_ended' ? [note.outcome] : []))
const kinds = (world: World, kind: Note['kind']) => world.notes.filter((note) => note.kind === kind)
const recover = (world: World, by = 'token:ann') => {
  const { recoverSeq, generation } = world.record.desired
  world.wish({ recoverSeq: recoverSeq + 1, wishGeneration: generation + 1, wishedBy: by })
}
const setMode = (world: World, policy: typeof POLICY) => {
  world.policy = policy
  const { wishGeneration, generation } = world.record.desired
  world.wish({ wishGeneration: wishGeneration ?? generation })
}

describe('which level says what is in force', () => {
  const instance = { recovery: 'observe', checks: null } as const
  const env = { recovery: 'off', checks: 'off' } as const
  const { desired } = new World().record
  const of = (modes: Partial<typeof desired>, node = DEFAULT_RELIABILITY) => modesFor(node, { ...desired, ...modes })

  test('the instance before its env before its node; what a level does not say is said by the next', () => {
    expect(of({})).toEqual({ recovery: { mode: 'on', setOn: 'node' }, checks: { mode: 'on', setOn: 'node' } })
    expect(of({ envModes: env })).toEqual({ recovery: { mode: 'off', setOn: 'env' }, checks: { mode: 'off', setOn: 'env' } })
    expect(of({ modes: instance, envModes: env })).toEqual({
      recovery: { mode: 'observe', setOn: 'instance' },
      checks: { mode: 'off', setOn: 'env' },
    })
  })
  test('T01: a node that is switched off altogether has the last word', () => {
    const off = { recovery: { mode: 'off', setOn: 'node' }, checks: { mode: 'off', setOn: 'node' } }
    expect(of({ modes: { recovery: 'on', checks: 'on' } }, { ...DEFAULT_RELIABILITY, enabled: false })).toEqual(off)
  })
  test('checks switched off on a node can be on for one instance, and the policy follows', () => {
    const node = { ...DEFAULT_RELIABILITY, healthCheck: { ...DEFAULT_RELIABILITY.healthCheck, enabled: false } }
    expect(recoveryPolicy(node, { ...desired, modes: { ...NO_MODES, checks: 'on' } }).checked).toBe(true)
    expect(recoveryPolicy(node, desired).checked).toBe(false)
  })
  test('the mode that a spec was launched with is no part of what a start depends on', () => {
    const { record } = new World()
    const spec = { ...record.desired.spec, recoveryMode: 'off' } as const
    expect(specKey({ ...record, desired: { ...record.desired, spec } })).toBe(specKey(record))
  })
})

describe('switched off in the middle of an episode', () => {
  test.each([OFF, OBSERVE])('waiting for the next attempt: cancelled once, and dead: $mode', (policy) => {
    const world = up()
    world.startFails = failure('start_failed', 'no')
    world.crash()
    expect(world.kind).toBe('recovering')
    setMode(world, policy)
    expect(world.record.phase).toMatchObject({ kind: 'failed', reason: 'recovery_off' })
    expect(outcomes(world)).toEqual(['cancelled'])
    expect(world.pass(3_600_000).record.incarnation).toBe(2)
    expect(outcomes(world)).toEqual(['cancelled'])
  })
  test('during the attempt: what does not live yet is let go of', () => {
    const world = up().crash()
    for (const kind of ['preparing', 'starting'] as const) {
      const record = { ...world.record, episode: EPISODE, phase: { ...world.record.phase, kind } } as typeof world.record
      const step = plan(record, { ...world.facts(null), policy: OFF, seen: { kind: 'known', objects: [] } })
      expect(step.record).toMatchObject({ episode: null, phase: { kind: 'failed', reason: 'recovery_off' } })
      expect(step.notes).toMatchObject([{ kind: 'episode_ended', outcome: 'cancelled', switchedOff: true }])
      expect(step.action).toBeNull()
    }
  })
  test('what lives already, lives on, and is verified like any other', () => {
    const world = up().crash()
    expect(world.record).toMatchObject({ incarnation: 2, verified: false, phase: { kind: 'running' } })
    setMode(world, OFF)
    expect(outcomes(world)).toEqual(['cancelled'])
    expect(world.pass(1000).record).toMatchObject({ incarnation: 2, verified: true, phase: { kind: 'running', reason: 'verified' } })
    expect(outcomes(world)).toEqual(['cancelled'])
    expect(world.actions.some((action) => action.kind === 'stop')).toBe(false)
  })
  test('an object that nobody could see yet is no reason to let go', () => {
    const world = up().crash()
    const record = { ...world.record, episode: EPISODE, phase: { ...world.record.phase, kind: 'starting' } } as typeof world.record
    const step = plan(record, { ...world.facts(null), policy: OFF, seen: { kind: 'unknown' } })
    expect(step.record.episode).not.toBeNull()
  })
})

const EPISODE = { reason: 'process_dead', startedAtMs: 1, attempts: 1, lastSeenMs: 1, queuedMs: 0, dataLoss: false, forced: false } as const

describe('T33 observe, and on again', () => {
  test('T33: a death is counted and told, once, and nothing is done', () => {
    const world = up()
    setMode(world, OBSERVE)
    world.crash()
    world.pass(3_600_000)
    expect(kinds(world, 'orphaned')).toMatchObject([{ reason: 'process_dead', recovering: false }])
    expect(world.record).toMatchObject({ incarnation: 1, episode: null, phase: { kind: 'failed', reason: 'recovery_off' } })
    expect(outcomes(world)).toEqual([])
  })
  test('T33: switched on, what is dead is recovered in one episode, and its orphan is not counted again', () => {
    const world = up()
    setMode(world, OBSERVE)
    world.crash()
    world.pass(60_000)
    setMode(world, POLICY)
    world.pass(1000)
    expect(world.record).toMatchObject({ incarnation: 2, verified: true, phase: { kind: 'running' } })
    expect([kinds(world, 'orphaned').length, kinds(world, 'taken_up').length, kinds(world, 'attempting').length]).toEqual([1, 1, 1])
    expect(outcomes(world)).toEqual(['success'])
  })
  test('a one-shot that failed, and one that completed, are not taken up, nor moved by any change of mode', () => {
    for (const code of [0, 1]) {
      const world = new World({ spec: specOf({ restart: { policy: 'never' } }) }).settle().pass(2000)
      world.crash({ code, signal: null })
      const before = world.record.phase
      for (const policy of [OBSERVE, OFF, POLICY]) setMode(world, policy)
      expect(world.record).toMatchObject({ incarnation: 1, phase: before })
    }
  })
  test('a quarantine rests while recovery is off, and its trial comes when it is on again', () => {
    const world = up()
    world.startFails = failure('start_failed', 'no')
    world.crash()
    for (let round = 0; round < 4 && world.kind !== 'quarantined'; round += 1) world.toWake()
    setMode(world, OFF)
    world.pass(3_600_000)
    expect(world.kind).toBe('quarantined')
    world.startFails = null
    setMode(world, POLICY)
    expect(world.pass(1000).record.phase).toMatchObject({ kind: 'running', reason: 'verified' })
  })
})

describe('T34 by hand', () => {
  test('T34: an instance that had run gets an episode of its own, with who asked for it', () => {
    const world = up()
    setMode(world, OBSERVE)
    world.crash()
    recover(world)
    expect(world.record.attempts.at(-1)).toMatchObject({ trigger: 'forced', by: 'token:ann', reason: 'forced', outcome: 'running' })
    expect(kinds(world, 'attempting')).toMatchObject([{ attempt: 1, trigger: 'forced', by: 'token:ann', reason: 'process_dead' }])
    world.pass(1000)
    expect(outcomes(world)).toEqual(['success'])
    expect(world.record.attempts.at(-1)?.outcome).toBe('success')
  })
  test('a forced attempt that fails is a failure, once, where recovery does not go on by itself', () => {
    const world = up()
    setMode(world, OBSERVE)
    world.crash()
    world.startFails = failure('start_failed', 'no')
    recover(world)
    world.pass(3_600_000)
    expect(outcomes(world)).toEqual(['failure'])
    expect(world.record.phase).toMatchObject({ kind: 'failed', reason: 'recovery_off' })
  })
  test('where it does, what follows is automatic, and switched off it is cancelled', () => {
    const world = up()
    world.startFails = failure('start_failed', 'no')
    world.crash()
    recover(world)
    expect(world.record.attempts.map(({ trigger }) => trigger)).toEqual(['wished', 'automatic', 'forced', 'automatic'])
    expect(world.kind).toBe('recovering')
    setMode(world, OFF)
    expect(outcomes(world)).toEqual(['cancelled'])
  })
  test('what a person wished and what nobody wished are told apart; ten attempts are kept', () => {
    const world = new World({ wishedBy: 'token:bob' }).settle()
    expect(world.record.attempts).toMatchObject([{ trigger: 'wished', by: 'token:bob' }])
    for (let round = 0; round < 12; round += 1) {
      world.pass(20_000).crash()
      world.record = { ...world.record, ends: [] }
    }
    expect(world.record.attempts).toHaveLength(10)
    expect(new Set(world.record.attempts.map(({ trigger, by }) => `${trigger} ${by}`))).toEqual(new Set(['automatic null']))
  })
})

describe('T17 an attempt has succeeded', () => {
  test('T17: when it has lived for a second, however soon its checks pass; who waits for health does not wait for that', () => {
    const world = up()
    world.verdict = GATED
    world.crash().pass(100)
    world.verdict = PASSING
    world.settle()
    expect(world.record).toMatchObject({ verified: true, phase: { kind: 'running', reason: 'verified' } })
    expect([outcomes(world), world.record.attempts.at(-1)?.outcome]).toEqual([[], 'running'])
    expect(world.wakeAtMs).toBe((world.record.startedAtMs ?? 0) + POLICY.verifyAfterMs)
    world.toWake()
    expect([outcomes(world), world.record.attempts.at(-1)?.outcome]).toEqual([['success'], 'success'])
  })
  test('T18: not when it ends within that second: the same episode goes on', () => {
    const world = up()
    world.verdict = GATED
    world.crash()
    world.verdict = PASSING
    world.pass(500).crash()
    expect(outcomes(world)).toEqual([])
    expect(world.record.attempts.at(-1)?.outcome).toBe('failure')
    expect(world.record.episode).toMatchObject({ attempts: 1 })
    expect(kinds(world, 'orphaned')).toHaveLength(1)
  })
  test('T17: not when what it was started with is not what is wished any more', () => {
    const world = up().crash()
    world.wish({ spec: specOf({ command: ['other'] }) })
    expect(outcomes(world)).toEqual(['cancelled'])
    world.pass(1000)
    expect(outcomes(world)).toEqual(['cancelled'])
    expect(world.record.startedSpec).toBe(specKey(world.record))
  })
  test('T17: not while its checks fail', () => {
    const world = up()
    world.verdict = GATED
    world.crash()
    world.verdict = PASSING
    world.settle()
    world.verdict = UNHEALTHY
    world.pass(5000)
    expect([world.kind, outcomes(world)]).toEqual(['degraded', []])
    world.verdict = PASSING
    world.settle()
    expect([world.kind, outcomes(world)]).toEqual(['running', ['self_recovered']])
  })
})

test('T27: HEAL-7 what allow_data_loss permitted is on the attempt, and told with the orphan', () => {
  const world = up()
  world.policy = { ...POLICY, allowDataLoss: true }
  world.verdict = UNHEALTHY
  world.settle()
  world.verdict = HEALTHY
  world.toWake()
  expect(kinds(world, 'orphaned')).toMatchObject([{ reason: 'health_check_failed', dataLoss: true, recovering: true }])
  expect(world.record.attempts.map(({ dataLoss }) => dataLoss)).toEqual([false, true, true])
  world.pass(20_000).crash()
  expect(world.record.attempts.map(({ dataLoss }) => dataLoss)).toEqual([false, true, true, false])
})

test('T45: over any interleaving of deaths, modes, wishes and time, each episode has exactly one outcome', () => {
  /** Plans and executes until quiet, and counts the episodes that begin. */
  const settle = (world: World): number => {
    let begun = 0
    let outcome: Parameters<World['facts']>[0] = null
    for (let steps = 0; steps < 80; steps += 1) {
      const next = plan(world.record, world.facts(outcome))
      if (next.record.episode !== null && next.record.episode.startedAtMs !== world.record.episode?.startedAtMs) begun += 1
      const moved = next.record.phase !== world.record.phase
      world.record = next.record
      world.notes.push(...next.notes)
      world.wakeAtMs = next.wakeAtMs
      outcome = next.action ? world.run(next.action) : null
      if (!next.action && (!moved || (next.wakeAtMs ?? 0) > world.nowMs)) return begun
    }
    throw new Error('never quiet')
  }
  const acts: Readonly<Record<string, (world: World) => void>> = {
    crash: (world) => world.end(world.record.incarnation, { code: 1, signal: null }),
    off: (world) => {
      world.policy = OFF
    },
    observe: (world) => {
      world.policy = OBSERVE
    },
    on: (world) => {
      world.policy = POLICY
    },
    failing: (world) => {
      world.startFails = failure('start_failed', 'no')
    },
    starting: (world) => {
      world.startFails = null
    },
    away: (world) => {
      world.reachable = false
    },
    back: (world) => {
      world.reachable = true
    },
    recover: (world) => bump(world, { recoverSeq: world.record.desired.recoverSeq + 1 }),
    restart: (world) => bump(world, { restartSeq: world.record.desired.restartSeq + 1, want: 'running' }),
    stop: (world) => bump(world, { want: 'stopped' }),
    start: (world) => bump(world, { want: 'running' }),
    moment: (world) => {
      world.nowMs += 700
    },
    minute: (world) => {
      world.nowMs += 61_000
    },
  }
  const bump = (world: World, change: Partial<World['record']['desired']>) => {
    const { desired } = world.record
    world.record = { ...world.record, desired: { ...desired, ...change, generation: desired.generation + 1 } }
  }
  fc.assert(
    fc.property(fc.array(fc.constantFrom(...Object.keys(acts)), { maxLength: 40 }), (names) => {
      const world = new World()
      let begun = settle(world)
      for (const name of names) {
        world.nowMs += 1
        acts[name]?.(world)
        begun += settle(world)
        expect(outcomes(world).length + (world.record.episode === null ? 0 : 1)).toBe(begun)
        if (world.policy.mode !== 'on' && world.reachable && world.record.episode !== null) expect(world.record.episode.forced).toBe(true)
      }
    }),
    { numRuns: 500 },
  )
})
