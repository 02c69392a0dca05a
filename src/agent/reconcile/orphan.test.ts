// An orphan in each way of becoming one, and what is done about it: at once, later, or not at all.
import { expect, test } from 'vitest'
import { HEALTHY, POLICY, UNHEALTHY, World } from '../../../tests/support/plan-world.ts'
import { failure } from '../../contracts/errors.ts'
import { ATTEMPTS_KEPT } from '../model/record.ts'

const up = () => new World().settle().pass(1000).pass(20_000)
const PASSING = { ...HEALTHY, gated: true, health: 'healthy' as const }
const notesOf = (world: World, kind: World['notes'][number]['kind']) => world.notes.filter((note) => note.kind === kind)
const kindsOf = (world: World) => world.actions.map(({ kind }) => kind)

test('T07: its downtime is the time from the first failed state to its recovery', () => {
  const world = up()
  world.verdict = UNHEALTHY
  world.settle().pass(45_000)
  world.verdict = PASSING
  world.settle()
  expect(notesOf(world, 'healthy_again')).toMatchObject([{ downtimeMs: 45_000 }])
})

test('T13: a control socket that is gone while the process lives is an orphan of just this reason, once, and nothing is stopped', () => {
  const world = up()
  const before = world.actions.length
  world.verdict = { ...UNHEALTHY, reason: 'socket_unreachable', detail: 'the socket file is missing' }
  for (let look = 0; look < 5; look += 1) world.settle().pass(30_000)
  expect(notesOf(world, 'orphaned')).toMatchObject([{ reason: 'socket_unreachable', recovering: false }])
  expect(world.record.phase).toMatchObject({ kind: 'degraded', reason: 'socket_unreachable' })
  expect(world.actions).toHaveLength(before)
})

test.each<[string, Partial<World['policy']>, Partial<World['verdict']>]>([
  ['it must be known to be ill: not being ready is no reason', {}, { reason: null }],
  ['recovery must be on', { mode: 'observe' }, {}],
  ['recovery must not be off', { mode: 'off' }, {}],
  ['data loss must be permitted', { allowDataLoss: false }, {}],
])('HEAL-7: checks alone end what lives only where each of these holds: %s', (_, policy, verdict) => {
  const world = up()
  world.verdict = { ...UNHEALTHY, ...verdict }
  world.policy = { ...POLICY, allowDataLoss: true, ...policy }
  world.settle().pass(60_000)
  expect([world.kind, world.record.incarnation, kindsOf(world).includes('stop')]).toEqual(['degraded', 1, false])
})

test('T16: a paused one that dies is replaced and paused again; its start is proven when it runs', () => {
  const world = up()
  world.wish({ want: 'paused' })
  world.pass(20_000).crash()
  expect(world.record).toMatchObject({ incarnation: 2, phase: { kind: 'paused', reason: 'requested' } })
  expect(world.alive()).toMatchObject([{ incarnation: 2, state: 'paused' }])
  world.wish({ want: 'running' })
  world.pass(1000)
  expect(world.record).toMatchObject({ incarnation: 2, verified: true, phase: { kind: 'running' } })
  expect(notesOf(world, 'episode_ended')).toMatchObject([{ outcome: 'success', attempts: 1 }])
})

test('T23: past its budget an episode ends as a timeout, which is its one outcome', () => {
  const world = up()
  world.policy = { ...POLICY, recoveryTimeoutMs: 80_000 }
  world.startFails = failure('start_failed', 'no')
  world.crash()
  world.toWake()
  expect(world.kind).toBe('quarantined')
  expect(notesOf(world, 'episode_ended')).toMatchObject([{ outcome: 'timeout', attempts: 2, totalMs: 30_000 }])
})

test('T43: the last ten attempts are kept, and what somebody was given of them does not change any more', () => {
  const world = up()
  const given = world.record.attempts
  const copy = structuredClone(given)
  for (let seq = 1; seq <= 15; seq += 1) world.wish({ recoverSeq: seq })
  expect(world.record.attempts.map(({ incarnation }) => incarnation)).toEqual(
    Array.from({ length: ATTEMPTS_KEPT }, (_, index) => index + 7),
  )
  expect(given).toEqual(copy)
})

test('C45: stopped and wished running it is started', () => {
  const world = up()
  world.wish({ want: 'stopped' })
  world.actions.length = 0
  world.wish({ want: 'running' })
  expect(kindsOf(world)).toEqual(['prepare', 'start'])
  expect(world.kind).toBe('running')
})

test('C46: what the runtime has lost without a trace is made again', () => {
  const world = up()
  world.objects = []
  world.settle()
  expect(notesOf(world, 'orphaned')).toMatchObject([{ reason: 'process_dead' }])
  expect(world.record).toMatchObject({ incarnation: 2, phase: { kind: 'running' } })
})

test('C48, C49: within its wait nothing is tried however often it is asked; when it is over, exactly once', () => {
  const world = up()
  world.startFails = failure('start_failed', 'no')
  world.crash()
  const before = structuredClone(world.record)
  world.actions.length = 0
  for (let ask = 0; ask < 10; ask += 1) world.settle().pass(2000)
  expect(world.actions).toEqual([])
  expect(world.record).toEqual(before)
  world.startFails = null
  world.toWake()
  expect(kindsOf(world)).toEqual(['prepare', 'start'])
  expect(world.record).toMatchObject({ incarnation: before.incarnation + 1, failures: before.failures })
})

test('C52: one wished stopped that ends with 137 is stopped, and no failure', () => {
  const world = up()
  world.reachable = false
  world.wish({ want: 'stopped' })
  world.end(1, { code: 137, signal: null })
  world.reachable = true
  world.toWake()
  expect(world.record).toMatchObject({ failures: 0, episode: null, phase: { kind: 'stopped', exit: { code: 137 }, lastError: null } })
  expect(notesOf(world, 'orphaned')).toEqual([])
})

test.each([
  [POLICY.stableAfterMs - 1, 'crash_looping'],
  [POLICY.stableAfterMs, 'running'],
] as const)('T31: an end %i ms after the start leads to %s, also when nobody has looked since it became stable', (livedMs, kind) => {
  const world = up().crash().pass(1000)
  expect(world.record).toMatchObject({ failures: 1, verified: true })
  world.nowMs += livedMs - 1000
  expect(world.crash().kind).toBe(kind)
})
