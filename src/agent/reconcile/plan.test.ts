import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { HEALTHY, POLICY, specOf, UNHEALTHY, World } from '../../../tests/support/plan-world.ts'
import type { Desired } from '../../contracts/agent-protocol.ts'
import { failure } from '../../contracts/errors.ts'

const up = (change: Partial<Desired> = {}) => {
  const world = new World(change).settle()
  return world.pass(1000)
}
const ended = (world: World) => world.notes.filter((note) => note.kind === 'episode_ended')

describe('start and verification', () => {
  test('C37: a new wish is prepared, started and, after living long enough, verified', () => {
    const world = new World().settle()
    expect(world.actions.map((action) => action.kind)).toEqual(['prepare', 'start'])
    expect(world.record.verified).toBe(false)
    world.pass(1000)
    expect(world.record).toMatchObject({
      verified: true,
      provisioned: true,
      incarnation: 1,
      phase: { kind: 'running', reason: 'verified' },
    })
  })
  test('C38: the same wish again does nothing', () => {
    const world = up()
    const before = world.actions.length
    world.settle().pass(5000)
    expect(world.actions).toHaveLength(before)
  })
  test('with checks declared only their verdict verifies', () => {
    const world = new World()
    world.verdict = { ...HEALTHY, gated: true, health: 'starting' }
    world.settle().pass(60_000)
    expect(world.record.verified).toBe(false)
    world.verdict = { ...HEALTHY, gated: true, health: 'healthy' }
    world.settle()
    expect(world.record.verified).toBe(true)
  })
  test('C40: a failed provisioning is failed, not retried by the node; a new generation tries again', () => {
    const world = new World()
    world.startFails = failure('start_failed', 'no')
    world.settle()
    expect(world.record.phase).toMatchObject({ kind: 'failed', reason: 'start_failed', lastError: { code: 'start_failed' } })
    world.pass(3_600_000)
    expect(world.record.incarnation).toBe(1)
    world.startFails = null
    world.wish({ healSeq: 1 })
    expect(world.kind).toBe('running')
  })
  test('a start whose answer was lost, and that worked, is found running, whatever its recovery mode; nothing is started for it', () => {
    for (const mode of ['on', 'observe', 'off'] as const) {
      const world = new World()
      world.policy = { ...world.policy, mode }
      world.startFails = failure('runtime_unreachable', 'the answer was lost')
      world.settle()
      expect(world.kind).toBe('failed')
      const { incarnation, nonce } = world.record
      world.objects = [{ incarnation, nonce, state: 'running', exit: null, matches: true, startedAtMs: world.nowMs }]
      world.settle()
      expect(world.record.phase).toMatchObject({ kind: 'running', reason: 'self_recovered' })
      world.pass(1000)
      expect(world.record).toMatchObject({ verified: true, incarnation: 1 })
      expect(world.actions.map(({ kind }) => kind)).toEqual(['prepare', 'start'])
    }
  })
  test('an error that retrying cannot mend ends the matter, also for a running instance', () => {
    const world = up()
    world.pass(20_000)
    world.startFails = failure('image_not_found', 'gone')
    world.crash()
    expect(world.record.phase).toMatchObject({ kind: 'failed', reason: 'permanent_error' })
    expect(ended(world)).toMatchObject([{ outcome: 'failure' }])
  })
})

describe('recovery', () => {
  test('T12: the first end of a stable instance is answered at once, with a new incarnation', () => {
    const world = up().pass(20_000).crash()
    expect(world.kind).toBe('running')
    expect(world.record.incarnation).toBe(2)
    world.pass(1000)
    expect(ended(world)).toMatchObject([{ outcome: 'success', attempts: 1, reason: 'process_dead' }])
  })
  test('an orphan was last seen when it ended, not when it started', () => {
    const world = up().pass(20_000)
    const endedAtMs = world.nowMs
    world.crash()
    expect(world.notes.find((note) => note.kind === 'orphaned')).toMatchObject({ lastSeenMs: endedAtMs })
  })
  test('T19, C50: attempts that always fail: exactly three, waits of 30 s and 60 s, none after the last, one outcome', () => {
    const world = up().pass(20_000)
    world.startFails = failure('start_failed', 'no')
    world.crash()
    const waits: number[] = []
    while (world.kind === 'recovering' && waits.length < 10) {
      waits.push((world.wakeAtMs ?? 0) - world.nowMs)
      world.toWake()
    }
    expect(waits).toEqual([30_000, 60_000])
    expect(world.kind).toBe('quarantined')
    expect(world.notes.filter((note) => note.kind === 'attempting')).toHaveLength(3)
    expect(ended(world)).toMatchObject([{ outcome: 'failure', attempts: 3 }])
  })
  test('T20, C50: a quarantine cools down to a single trial; recover lifts it at once', () => {
    const world = up().pass(20_000)
    world.startFails = failure('start_failed', 'no')
    world.crash()
    while (world.kind === 'recovering') world.toWake()
    const tried = world.record.incarnation
    world.toWake()
    expect(world.kind).toBe('quarantined')
    expect(world.record.incarnation).toBe(tried + 1)
    world.startFails = null
    world.wish({ recoverSeq: 1 })
    expect(world.kind).toBe('running')
  })
  test('T31: ends again and again are a crash loop with its cause, backed off, then quarantine', () => {
    const world = up()
    const seen = new Set<string>()
    for (let round = 0; round < 12 && world.kind !== 'quarantined'; round += 1) {
      if (world.kind === 'running') world.pass(1500).crash({ code: 3, signal: null })
      seen.add(world.kind)
      if (world.kind === 'crash_looping') world.toWake()
    }
    expect([...seen]).toEqual(expect.arrayContaining(['crash_looping', 'quarantined']))
    expect(world.record.phase.lastError?.detail).toContain('exit code 3')
    expect(world.record.incarnation).toBe(4)
  })
  test('a crash loop tells how often it ended, since when, and how many starts were tried, although each start proved itself', () => {
    const world = up().pass(20_000).crash()
    const firstMs = world.nowMs
    const told: unknown[] = []
    while (world.kind !== 'quarantined') {
      if (world.kind === 'running') world.pass(1500).crash()
      else world.toWake()
      const note = world.notes.splice(0).find(({ kind }) => kind === 'crash_looping' || kind === 'quarantined')
      if (note) told.push({ ...note, attempt: world.record.phase.attempt, sinceFirst: world.nowMs - firstMs })
    }
    const sinceFirst = told.map((note) => Object(note).sinceFirst)
    expect(sinceFirst[0]).toBe(1500)
    expect(told).toMatchObject([
      { kind: 'crash_looping', failures: 2, windowMs: sinceFirst[0], attempt: 1 },
      { kind: 'crash_looping', failures: 3, windowMs: sinceFirst[1], attempt: 2 },
      { kind: 'quarantined', failures: 4, windowMs: sinceFirst[2], attempt: 3 },
    ])
    world.toWake()
    world.crash()
    expect(world.notes.find(({ kind }) => kind === 'quarantined')).toMatchObject({ failures: 5, windowMs: world.nowMs - firstMs })
  })
  test('T31: a stable run clears the count', () => {
    const world = up().crash()
    expect(world.record.failures).toBe(1)
    world.pass(1000).pass(10_000)
    expect(world.record.failures).toBe(0)
  })
  test('HEAL-9 the healer does not lift a quarantine', () => {
    const world = up().pass(20_000)
    world.startFails = failure('start_failed', 'no')
    world.crash()
    while (world.kind === 'recovering') world.toWake()
    world.startFails = null
    world.wish({ healSeq: 7 })
    expect(world.kind).toBe('quarantined')
    expect(world.record.acted.healSeq).toBe(7)
  })
  test('T26: an instance that comes back by itself is not restarted', () => {
    const world = up().pass(20_000)
    world.startFails = failure('start_failed', 'no')
    world.crash()
    expect(world.kind).toBe('recovering')
    const back = world.record.incarnation
    world.objects = [
      ...world.objects,
      { incarnation: back, nonce: world.record.nonce, state: 'running', exit: null, matches: true, startedAtMs: world.nowMs },
    ]
    world.settle()
    expect(world.record).toMatchObject({ incarnation: back, phase: { kind: 'running', reason: 'self_recovered' } })
    expect(ended(world)).toMatchObject([{ outcome: 'self_recovered' }])
  })
  test('T33: observe mode counts the orphan and does nothing', () => {
    const world = up().pass(20_000)
    world.policy = { ...POLICY, mode: 'observe' }
    const before = world.actions.length
    world.crash()
    expect(world.record.phase).toMatchObject({ kind: 'failed', reason: 'recovery_off' })
    expect(world.actions).toHaveLength(before)
    expect(world.notes.at(-1)).toMatchObject({ kind: 'orphaned', recovering: false })
  })
  test('PLACE-1 the words memory limit exceeded', () => {
    const world = up().pass(20_000).crash({ code: null, signal: 'SIGKILL', oom: true })
    expect(world.record.attempts.at(-1)).toMatchObject({ outcome: 'running' })
    expect(world.record.phase.lastError).toMatchObject({ code: 'memory_limit_exceeded' })
    expect(world.record.phase.lastError?.detail).toContain('memory limit exceeded')
  })
  test('T36: a runtime that does not answer burns no attempt', () => {
    const world = up().pass(20_000)
    world.startFails = failure('runtime_unreachable', 'away')
    world.crash()
    for (let round = 0; round < 50; round += 1) world.toWake()
    expect(world.record.phase).toMatchObject({ kind: 'recovering', reason: 'runtime_unreachable' })
    expect(world.record.episode?.attempts).toBe(0)
    world.startFails = null
    world.toWake()
    expect(world.record).toMatchObject({ phase: { kind: 'running' }, episode: { attempts: 1 } })
  })
})

describe('wishes', () => {
  test('T15: what was stopped on purpose stays stopped', () => {
    const world = up()
    world.wish({ want: 'stopped' })
    expect(world.kind).toBe('stopped')
    const before = world.actions.length
    world.pass(3_600_000)
    expect(world.actions).toHaveLength(before)
  })
  test('T28: stop and delete cancel an episode', () => {
    for (const want of ['stopped', 'deleted'] as const) {
      const world = up().pass(20_000)
      world.startFails = failure('start_failed', 'no')
      world.crash()
      world.wish({ want })
      expect(world.kind).toBe(want)
      expect(ended(world)).toMatchObject([{ outcome: 'cancelled' }])
      expect(world.record.episode).toBeNull()
    }
  })
  test('C41: a new spec stops the old incarnation before the new one starts; a label restarts nothing', () => {
    const world = up()
    world.wish({ spec: specOf({ command: ['other'] }) })
    expect(world.record.incarnation).toBe(2)
    expect(world.alive()).toHaveLength(1)
    world.wish({ labels: { a: 'b' } })
    expect(world.record.incarnation).toBe(2)
  })
  test('restart stops and starts; the same number twice acts once', () => {
    const world = up()
    world.wish({ restartSeq: 1 })
    world.pass(2000)
    expect(world.record.incarnation).toBe(2)
  })
  test('C75: paused by somebody else is left alone until a newer wish', () => {
    const world = up()
    world.objects = world.objects.map((object) => ({ ...object, state: 'paused' as const }))
    world.settle().pass(600_000)
    expect(world.record.phase).toMatchObject({ kind: 'paused', reason: 'paused_outside' })
    world.wish({})
    expect(world.kind).toBe('running')
  })
  test('pause and resume are no new incarnation', () => {
    const world = up()
    world.wish({ want: 'paused' })
    expect(world.kind).toBe('paused')
    world.pass(20_000)
    world.wish({ want: 'running' })
    expect(world.kind).toBe('running')
    expect(world.record.incarnation).toBe(1)
  })
  test('RUN-10 one-shot: exit 0 completes, another is failed for good; on-failure restarts only errors', () => {
    const ok = up({ spec: specOf({ restart: { policy: 'never' } }) }).crash({ code: 0, signal: null })
    expect(ok.kind).toBe('completed')
    const bad = up({ spec: specOf({ restart: { policy: 'never' } }) }).crash({ code: 3, signal: null })
    expect(bad.record.phase).toMatchObject({ kind: 'failed', lastError: { code: 'one_shot_failed' } })
    expect(bad.record.incarnation).toBe(1)
    const content = up({ spec: specOf({ restart: { policy: 'on-failure' } }) }).crash({ code: 0, signal: null })
    expect(content.kind).toBe('completed')
    content.wish({ restartSeq: 1 })
    expect(content.kind).toBe('running')
  })
})

describe('guards', () => {
  test('T27: failing checks never kill a living workload unless data loss is permitted', () => {
    const world = up()
    world.verdict = UNHEALTHY
    const before = world.actions.length
    world.settle().pass(600_000)
    expect(world.kind).toBe('degraded')
    expect(world.actions).toHaveLength(before)
    expect(world.notes.filter((note) => note.kind === 'orphaned')).toMatchObject([{ reason: 'health_check_failed', recovering: false }])
    world.verdict = { ...HEALTHY, gated: true, health: 'healthy' }
    world.settle()
    expect(world.record.phase).toMatchObject({ kind: 'running', reason: 'self_recovered' })
    world.policy = { ...POLICY, allowDataLoss: true }
    world.verdict = UNHEALTHY
    world.settle()
    expect(world.record.incarnation).toBe(2)
  })
  test('a degraded instance stays so over a restart of the agent until a check has passed; with checks switched off it just runs', () => {
    const world = up()
    world.verdict = UNHEALTHY
    world.settle()
    for (const health of ['unknown', 'starting'] as const) {
      world.verdict = { ...HEALTHY, health }
      world.settle()
      expect(world.kind).toBe('degraded')
    }
    expect(world.notes.some((note) => note.kind === 'healthy_again' || note.kind === 'episode_ended')).toBe(false)
    world.policy = { ...POLICY, checked: false }
    world.settle()
    expect(world.kind).toBe('running')
  })
  test('an end that nobody saw does not show the exit of an earlier incarnation', () => {
    const world = up().pass(20_000).crash({ code: 3, signal: null })
    world.pass(20_000)
    world.objects = []
    world.settle()
    expect(world.record.lastExit).toBeNull()
  })
  test('C53: HEAL-3 an unreachable runtime is never a missing workload', () => {
    const world = up()
    world.reachable = false
    world.settle().pass(3_600_000)
    expect(world.record).toMatchObject({ incarnation: 1, phase: { kind: 'running' } })
  })
  test('T14: a process that is not ours is never stopped', () => {
    const world = up()
    world.objects = world.objects.map((object) => ({ ...object, matches: false }))
    world.settle()
    expect(world.actions.filter((action) => action.kind === 'stop')).toEqual([])
    expect(world.record.incarnation).toBe(2)
    expect(world.notes.find((note) => note.kind === 'orphaned')).toMatchObject({ reason: 'process_mismatch' })
  })
  test('a stop that fails is tried again and says so', () => {
    const world = up()
    world.stopFails = failure('stop_failed', 'busy')
    world.wish({ want: 'stopped' })
    expect(world.record.phase).toMatchObject({ kind: 'stopping', lastError: { code: 'stop_failed' } })
    world.stopFails = null
    world.toWake()
    expect(world.kind).toBe('stopped')
  })
})

const event = fc.oneof(
  fc.record({ kind: fc.constant('crash' as const), code: fc.constantFrom(0, 3, null) }),
  fc.record({ kind: fc.constant('want' as const), want: fc.constantFrom('running' as const, 'stopped' as const, 'paused' as const) }),
  fc.record({ kind: fc.constant('seq' as const), seq: fc.constantFrom('restartSeq' as const, 'recoverSeq' as const, 'healSeq' as const) }),
  fc.record({ kind: fc.constant('spec' as const), command: fc.constantFrom('a', 'b', 'c') }),
  fc.record({ kind: fc.constant('reach' as const), up: fc.boolean() }),
  fc.record({
    kind: fc.constant('start' as const),
    fails: fc.constantFrom(null, 'start_failed' as const, 'image_not_found' as const, 'runtime_unreachable' as const),
  }),
  fc.record({ kind: fc.constant('checks' as const), ok: fc.boolean() }),
  fc.record({ kind: fc.constant('time' as const), ms: fc.integer({ min: 1, max: 400_000 }) }),
)

test('T45: any interleaving: at most one lives, nothing wished away starts, one outcome per episode, and it converges', () => {
  fc.assert(
    fc.property(fc.array(event, { maxLength: 40 }), (events) => {
      const world = new World().settle()
      for (const now of events) {
        if (now.kind === 'crash' && world.alive().length > 0) world.crash({ code: now.code, signal: now.code === null ? 'SIGKILL' : null })
        if (now.kind === 'want') world.wish({ want: now.want })
        if (now.kind === 'seq') world.wish({ [now.seq]: world.record.desired[now.seq] + 1 })
        if (now.kind === 'spec') world.wish({ spec: specOf({ command: [now.command] }) })
        if (now.kind === 'reach') world.reachable = now.up
        if (now.kind === 'start') world.startFails = now.fails && failure(now.fails, 'fault')
        if (now.kind === 'checks') world.verdict = now.ok ? HEALTHY : UNHEALTHY
        if (now.kind === 'time') world.pass(now.ms)
        world.settle()
        expect(world.alive().length).toBeLessThanOrEqual(1)
      }
      world.reachable = true
      world.startFails = null
      world.verdict = HEALTHY
      world.settle()
      world.wish({ want: 'running', restartSeq: world.record.desired.restartSeq + 1 })
      for (let round = 0; round < 8; round += 1) world.pass(6000)
      expect(world.kind).toBe('running')
      expect(world.alive()).toHaveLength(1)
      expect(world.record.episode).toBeNull()
      const opened = world.notes.filter((note) => note.kind === 'orphaned' && note.recovering).length
      // Trials out of a quarantine are episodes without a new orphan.
      expect(ended(world).length).toBeGreaterThanOrEqual(opened)
      world.wish({ want: 'deleted' })
      expect(world.kind).toBe('deleted')
      expect(world.objects.filter((object) => object.matches)).toEqual([])
    }),
    { numRuns: 400 },
  )
})

test('a stop that is said to be done while it lives on is repeated after a wait, not without an end', () => {
  const world = new World().settle()
  world.pass(20_000)
  const stops = () => world.actions.filter(({ kind }) => kind === 'stop').length
  // A runtime that answers well and does nothing.
  world.end = () => {}
  world.wish({ want: 'stopped' })
  expect(world.record.phase.kind).toBe('stopping')
  expect(stops()).toBe(1)
  world.toWake()
  expect(stops()).toBe(2)
})
