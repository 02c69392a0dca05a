import { describe, expect, test } from 'vitest'
import { World } from '../../../tests/support/plan-world.ts'
import { HOOKS } from '../../contracts/hook.ts'
import { PHASE_KINDS, type Phase, type PhaseKind } from '../../contracts/phase.ts'
import { hooksOf } from './hooks.ts'
import { plan } from './plan.ts'

const to = (kind: PhaseKind) => ({ kind, reason: 'requested', sinceMs: 0, attempt: 0, lastError: null }) as Phase

describe('T38 what a transition means to the operator', () => {
  test.each<[PhaseKind | null, PhaseKind, readonly string[]]>([
    ['placed', 'preparing', ['created']],
    ['placed', 'stopping', ['created']],
    ['preparing', 'starting', []],
    ['starting', 'running', ['started']],
    ['recovering', 'running', ['started']],
    ['running', 'running', []],
    ['running', 'degraded', ['errored']],
    ['degraded', 'running', []],
    ['running', 'recovering', ['errored']],
    ['recovering', 'recovering', []],
    ['recovering', 'quarantined', ['errored']],
    ['preparing', 'failed', ['errored']],
    ['running', 'paused', ['paused']],
    ['paused', 'running', ['resumed']],
    ['running', 'stopping', []],
    ['stopping', 'preparing', ['rebooted']],
    ['stopping', 'stopped', ['stopped']],
    ['running', 'completed', ['stopped']],
    ['stopping', 'deleted', ['deleted']],
    ['failed', 'preparing', []],
  ])('%s to %s: %j', (from, kind, hooks) => {
    expect(hooksOf({ from, to: to(kind) })).toEqual(hooks)
  })

  test('every hook is there, and none comes of a state that stays', () => {
    const all = PHASE_KINDS.flatMap((from) => PHASE_KINDS.flatMap((kind) => hooksOf({ from, to: to(kind) })))
    expect(new Set(all)).toEqual(new Set(HOOKS))
    for (const kind of PHASE_KINDS) expect(hooksOf({ from: kind, to: to(kind) })).toEqual([])
  })

  test('T38: a whole life, in order', () => {
    const world = new World()
    const heard: string[] = []
    const turn = () => {
      let outcome: Parameters<World['facts']>[0] = null
      for (let steps = 0; steps < 60; steps += 1) {
        const from = world.record.phase
        const next = plan(world.record, world.facts(outcome))
        if (next.record.phase !== from) heard.push(...hooksOf({ from: from.kind, to: next.record.phase }))
        world.record = next.record
        outcome = next.action ? world.run(next.action) : null
        if (!next.action && (next.record.phase === from || (next.wakeAtMs ?? 0) > world.nowMs)) return
      }
    }
    const wish = (change: Partial<World['record']['desired']>) => {
      const { desired } = world.record
      world.record = { ...world.record, desired: { ...desired, ...change, generation: desired.generation + 1 } }
      turn()
    }
    turn()
    world.nowMs += 20_000
    turn()
    wish({ restartSeq: 1 })
    wish({ want: 'paused' })
    wish({ want: 'running' })
    world.end(world.record.incarnation, { code: 1, signal: null })
    turn()
    wish({ want: 'stopped' })
    wish({ want: 'running' })
    wish({ want: 'deleted' })
    expect(heard).toEqual([
      ...['created', 'started', 'rebooted', 'started', 'paused', 'resumed', 'errored', 'started', 'stopped'],
      ...['started', 'deleted'],
    ])
  })
})
