// What may be collected, over random worlds: the guards of C53, C54 and C55, and that C69's kind of data is never named.
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { GARBAGE } from '../../contracts/garbage.ts'
import { DEFAULT_GC } from '../../contracts/gc-config.ts'
import { InstanceId } from '../../contracts/ids.ts'
import { PHASE_KINDS } from '../../contracts/phase.ts'
import type { GarbageFacts, GarbageObject, KnownInstance, RuntimeView } from '../model/garbage.ts'
import { dueNow, garbage, INCARNATIONS_KEPT, leavesEvidence } from './garbage.ts'

const id = (n: number): InstanceId => InstanceId.parse(`inst_${String(n).padStart(20, '0')}`)
const DAY_MS = 86_400_000
const WALL_MS = 1_800_000_000_000
const GRACE_MS = DEFAULT_GC.graceMs

const object = (n: number, change: Partial<GarbageObject> = {}): GarbageObject => ({
  id: id(n),
  incarnation: 1,
  nonce: `nonce-${n}`,
  alive: true,
  matches: true,
  endedAtMs: null,
  ...change,
})
const view = (objects: readonly GarbageObject[], change: Partial<RuntimeView> = {}): RuntimeView => ({
  runtime: 'fake',
  trusted: true,
  series: 0,
  objects,
  ...change,
})
const instance = (n: number, change: Partial<KnownInstance> = {}): KnownInstance => ({
  id: id(n),
  runtime: 'fake',
  incarnation: 1,
  phase: 'running',
  busy: false,
  image: null,
  ...change,
})
const facts = (change: Partial<GarbageFacts> = {}): GarbageFacts => ({
  elapsedMs: 0,
  wallMs: WALL_MS,
  runtimes: [view([])],
  instances: [],
  unknownToControl: new Set(),
  kept: [],
  evidence: [],
  images: null,
  releaseUnknown: false,
  since: new Map(),
  config: DEFAULT_GC,
  limits: { evidenceMax: 3, evidenceBytesMax: 1000 },
  ...change,
})
/** Chosen at the start, and again after that long, with nothing between. */
const later = (given: Partial<GarbageFacts>, afterMs: number, then: Partial<GarbageFacts> = {}) =>
  garbage(facts({ ...given, ...then, elapsedMs: afterMs, wallMs: WALL_MS + afterMs, since: garbage(facts(given)).since }))

describe('a stray', () => {
  const world = { runtimes: [view([object(1)])] }
  test('C55: younger than the grace it is left, older it is due, with its age', () => {
    expect(later(world, GRACE_MS - 1).candidates).toMatchObject([{ kind: 'stray', reason: 'no_instance', due: false, dueInMs: 1 }])
    expect(later(world, GRACE_MS).candidates).toMatchObject([{ due: true, dueInMs: 0, ageMs: GRACE_MS }])
  })
  test('C53: a runtime that was away in between begins its grace anew, and one that is away names nothing', () => {
    const after = later(world, GRACE_MS, { runtimes: [view([object(1)], { series: 1 })] })
    expect(after.candidates).toMatchObject([{ due: false, dueInMs: GRACE_MS }])
    expect(later(world, GRACE_MS, { runtimes: [view([object(1)], { trusted: false })] })).toEqual({ candidates: [], since: new Map() })
  })
  test('C54: what is not proven to be ours is never named', () => {
    expect(later({ runtimes: [view([object(1, { matches: false })])] }, DAY_MS).candidates).toEqual([])
  })
  test('an agent that has not been welcomed collects none', () => {
    expect(later({ ...world, unknownToControl: null }, DAY_MS).candidates).toEqual([])
  })
  test('one that was claimed meanwhile begins anew', () => {
    const claimed = later(world, 1000, { instances: [instance(1)] })
    expect(claimed.candidates).toEqual([])
    expect(garbage(facts({ ...world, elapsedMs: GRACE_MS, since: claimed.since })).candidates).toMatchObject([{ due: false }])
  })
  test('at most so many are due at once: the oldest first, and those that are not due yet not at all', () => {
    const found = (ns: readonly number[]) => ({ runtimes: [view(ns.map((n) => object(n, { alive: false })))] })
    const first = garbage(facts(found([3])))
    const second = garbage(facts({ ...found([2, 3]), elapsedMs: 5, since: first.since }))
    const third = garbage(facts({ ...found([1, 2, 3]), elapsedMs: 10, since: second.since }))
    const choice = (elapsedMs: number) => garbage(facts({ ...found([4, 1, 2, 3]), elapsedMs, since: third.since }))
    const due = (elapsedMs: number, max: number) => dueNow(choice(elapsedMs), max).map(({ target }) => 'id' in target && target.id)
    expect(due(GRACE_MS + 10, 2)).toEqual([id(3), id(2)])
    expect(due(GRACE_MS + 10, 9)).toEqual([id(3), id(2), id(1)])
    expect(due(GRACE_MS, 9)).toEqual([id(3)])
  })
  test('a wall clock that was set makes nothing old', () => {
    const set = garbage(facts({ ...world, wallMs: WALL_MS + 365 * DAY_MS, elapsedMs: 1, since: garbage(facts(world)).since }))
    expect(set.candidates).toMatchObject([{ due: false }])
  })
})

describe('living strays that are most of what lives on the node', () => {
  const own = (...numbers: readonly number[]) => numbers.map((n) => instance(n))
  const living = (...numbers: readonly number[]) => [view(numbers.map((n) => object(n)))]
  const dueOf = (given: Partial<GarbageFacts>) => later(given, DAY_MS).candidates.map(({ due, dueInMs }) => [due, dueInMs])

  test('are held back, for both memories may be lost; somebody who says so collects them, and the dead ones go by themselves', () => {
    const world = { runtimes: living(1, 2, 3, 4, 5), instances: own(1, 2) }
    expect(dueOf(world)).toEqual([1, 2, 3].map(() => [false, null]))
    expect(later(world, DAY_MS).candidates[0]?.detail).toContain('3 of the 5')
    expect(dueOf({ ...world, releaseUnknown: true })).toEqual([1, 2, 3].map(() => [true, 0]))
    const dead = [view([object(1), object(2), ...[3, 4, 5].map((n) => object(n, { alive: false }))])]
    expect(dueOf({ ...world, runtimes: dead })).toEqual([1, 2, 3].map(() => [true, 0]))
  })
  test('go after the grace when they are half or less, or one or two', () => {
    expect(dueOf({ runtimes: living(1, 2, 3, 4, 5, 6), instances: own(1, 2, 3) })).toEqual([1, 2, 3].map(() => [true, 0]))
    expect(dueOf({ runtimes: living(1, 2) })).toEqual([1, 2].map(() => [true, 0]))
  })
  test('count together with those that the control plane does not know, over all runtimes', () => {
    const runtimes = [view([object(1), object(2)]), view([object(3)], { runtime: 'docker' })]
    const unknownToControl = new Set([id(1), id(2)])
    const strays = later({ runtimes, instances: own(1, 2), unknownToControl }, DAY_MS).candidates
    expect(strays.map(({ reason, due }) => [reason, due])).toEqual([
      ['unknown_to_control', false],
      ['unknown_to_control', false],
      ['no_instance', false],
    ])
  })
})

describe('an instance that only this node knows', () => {
  const three = [instance(1), instance(2), instance(3)]
  const world = { instances: three, unknownToControl: new Set([id(3)]) }
  test('goes after the grace', () => {
    expect(later(world, GRACE_MS - 1).candidates).toMatchObject([{ reason: 'unknown_to_control', due: false }])
    expect(later(world, GRACE_MS).candidates).toMatchObject([{ target: { what: 'instance', id: id(3) }, due: true }])
  })
  test('is held back when the control plane lacks most of them: it has lost its memory, not its wishes', () => {
    const most = { instances: three, unknownToControl: new Set([id(2), id(3)]) }
    expect(later(most, DAY_MS).candidates).toMatchObject([
      { due: false, dueInMs: null },
      { due: false, dueInMs: null },
    ])
    expect(later({ ...most, releaseUnknown: true }, GRACE_MS).candidates).toMatchObject([{ due: true }, { due: true }])
  })
  test('is left while something is done to it, and while its runtime is none of this node', () => {
    const unknown = (change: Partial<KnownInstance>) =>
      later({ ...world, instances: [instance(1), instance(2), instance(3, change)] }, DAY_MS).candidates
    expect(unknown({})).toHaveLength(1)
    expect(unknown({ busy: true })).toEqual([])
    expect(unknown({ runtime: 'docker' })).toEqual([])
  })
  test('is left while its runtime does not answer', () => {
    expect(later({ ...world, runtimes: [view([], { trusted: false })] }, DAY_MS).candidates).toEqual([])
  })
})

describe('an ended object of a known instance', () => {
  const dead = (change: Partial<GarbageObject> = {}) => view([object(1, { alive: false, endedAtMs: WALL_MS, ...change })])
  test('is a zombie after the grace when its instance failed', () => {
    expect(later({ runtimes: [dead()], instances: [instance(1, { phase: 'failed' })] }, GRACE_MS).candidates).toMatchObject([
      { kind: 'zombie', reason: 'ended', due: true },
    ])
  })
  test('in a runtime that its instance has left is the move’s business', () => {
    expect(later({ runtimes: [dead()], instances: [instance(1, { phase: 'failed', runtime: 'docker' })] }, DAY_MS).candidates).toEqual([])
  })
  test.each(['stopped', 'completed'] as const)('stays for the retention of evidence when its instance is %s', (phase) => {
    const instances = [instance(1, { phase })]
    expect(later({ runtimes: [dead()], instances }, GRACE_MS).candidates).toEqual([])
    const old = [dead({ endedAtMs: WALL_MS - DEFAULT_GC.evidenceMs })]
    expect(later({ runtimes: old, instances }, GRACE_MS).candidates).toMatchObject([{ kind: 'zombie', due: true }])
  })
  test('is recovery’s business in every other state', () => {
    for (const phase of PHASE_KINDS.filter((kind) => !['failed', 'stopped', 'completed'].includes(kind)))
      expect(later({ runtimes: [dead({ endedAtMs: 0 })], instances: [instance(1, { phase })] }, DAY_MS).candidates).toEqual([])
  })
  test('of a former incarnation goes when newer ones are kept, or it is past the retention', () => {
    const runtimes = [view([1, 2, 3, 4, 5].map((incarnation) => object(1, { alive: false, incarnation, endedAtMs: WALL_MS })))]
    const found = later({ runtimes, instances: [instance(1, { incarnation: 5 })] }, GRACE_MS).candidates
    expect(found.map(({ target }) => 'incarnation' in target && target.incarnation)).toEqual([1])
    const old = [view([object(1, { alive: false, incarnation: 4, endedAtMs: WALL_MS - DEFAULT_GC.evidenceMs })])]
    expect(later({ runtimes: old, instances: [instance(1, { incarnation: 5 })] }, GRACE_MS).candidates).toHaveLength(1)
  })
})

describe('what is kept on disk', () => {
  const kept = (n: number, incarnation: number, ageMs = 0) => ({ id: id(n), incarnation, bytes: 10, atMs: WALL_MS - ageMs })
  test('the output of the last incarnations stays until its retention is over', () => {
    const instances = [instance(1, { incarnation: 6 })]
    const all = { instances, kept: [1, 2, 3, 4, 5, 6].map((incarnation) => kept(1, incarnation)) }
    expect(later(all, GRACE_MS).candidates.map(({ target, reason }) => ['incarnation' in target && target.incarnation, reason])).toEqual([
      [1, 'superseded'],
      [2, 'superseded'],
    ])
    expect(6 - 2).toBeGreaterThan(INCARNATIONS_KEPT)
    const old = { instances, kept: [kept(1, 5, DEFAULT_GC.evidenceMs), kept(1, 6, DEFAULT_GC.evidenceMs)] }
    expect(later(old, GRACE_MS).candidates).toMatchObject([{ reason: 'expired', target: { incarnation: 5 } }])
  })
  test('no output goes while its object is there, or while any runtime does not answer', () => {
    const old = { instances: [instance(1, { incarnation: 9 })], kept: [kept(1, 1)] }
    expect(later({ ...old, runtimes: [view([object(1, { alive: false })])] }, GRACE_MS).candidates.map(({ kind }) => kind)).not.toContain(
      'logs',
    )
    expect(later({ ...old, runtimes: [view([]), view([], { runtime: 'docker', trusted: false })] }, GRACE_MS).candidates).toEqual([])
  })
  test('the output of an instance that nobody knows goes after its retention, once the wishes are known', () => {
    const strange = { kept: [kept(1, 1, DEFAULT_GC.evidenceMs)] }
    expect(later(strange, GRACE_MS).candidates).toMatchObject([{ kind: 'logs', reason: 'expired', due: true }])
    expect(later({ ...strange, unknownToControl: null }, GRACE_MS).candidates).toEqual([])
  })
  test('evidence goes when it is past its retention, and at once when there is too much of it, oldest first', () => {
    const saved = (n: number, ageMs: number, bytes = 10) => ({ id: id(n), bytes, savedAtMs: WALL_MS - ageMs })
    const expired = later({ evidence: [saved(1, DEFAULT_GC.evidenceMs), saved(2, 5)] }, GRACE_MS)
    expect(expired.candidates).toMatchObject([{ target: { id: id(1) }, reason: 'expired', due: true }])
    const many = garbage(facts({ evidence: [saved(1, 4), saved(2, 3), saved(3, 2), saved(4, 1)] }))
    expect(many.candidates).toMatchObject([{ target: { id: id(1) }, reason: 'over_limit', due: true }])
    const large = garbage(facts({ evidence: [saved(1, 2, 600), saved(2, 1, 600)] }))
    expect(large.candidates).toMatchObject([{ target: { id: id(1) }, reason: 'over_limit' }])
  })
  test('a failure within the retention is worth evidence, an older one is not', () => {
    const record = (atMs: number) => ({ attempts: [{ error: { atMs } }], ends: [], phase: { lastError: null } })
    expect(leavesEvidence(record(WALL_MS - 1), WALL_MS, 1000)).toBe(true)
    expect(leavesEvidence(record(WALL_MS - 1000), WALL_MS, 1000)).toBe(false)
    expect(leavesEvidence({ attempts: [], ends: [WALL_MS], phase: { lastError: null } }, WALL_MS, 1000)).toBe(true)
    expect(leavesEvidence({ attempts: [{ error: null }], ends: [], phase: { lastError: null } }, WALL_MS, 1000)).toBe(false)
  })
})

describe('an image', () => {
  const image = (change = {}) => ({
    runtime: 'fake' as const,
    image: 'a:1',
    imageId: 'sha256:1',
    bytes: 9,
    pulledAtMs: WALL_MS - GRACE_MS,
    used: false,
    ...change,
  })
  test('is due when it is older than the grace, and nobody uses or names it', () => {
    expect(garbage(facts({ images: [image()] })).candidates).toMatchObject([{ kind: 'image', due: true }])
    expect(garbage(facts({ images: [image({ pulledAtMs: WALL_MS - 1 })] })).candidates).toMatchObject([{ due: false }])
    expect(garbage(facts({ images: [image({ used: true })] })).candidates).toEqual([])
    expect(garbage(facts({ images: [image()], instances: [instance(1, { image: 'a:1' })] })).candidates).toEqual([])
    expect(garbage(facts({ images: null })).candidates).toEqual([])
    expect(garbage(facts({ images: [image()], runtimes: [view([], { trusted: false })] })).candidates).toEqual([])
    expect(garbage(facts({ images: [image()], unknownToControl: null })).candidates).toEqual([])
  })
})

const objectArb = fc.record({
  n: fc.integer({ min: 1, max: 6 }),
  incarnation: fc.integer({ min: 1, max: 8 }),
  alive: fc.boolean(),
  matches: fc.boolean(),
  endedAtMs: fc.option(fc.integer({ min: WALL_MS - 10 * DAY_MS, max: WALL_MS }), { nil: null }),
})
const worldArb = fc.record({
  runtimes: fc
    .uniqueArray(
      fc.record({
        runtime: fc.constantFrom('fake' as const, 'docker' as const, 'process' as const),
        trusted: fc.boolean(),
        series: fc.nat(2),
        objects: fc.array(
          objectArb.map(({ n, ...rest }) => object(n, rest)),
          { maxLength: 8 },
        ),
      }),
      { selector: ({ runtime }) => runtime },
    )
    .map((views) => views.map((one) => (one.trusted ? one : { ...one, objects: one.objects }))),
  instances: fc
    .uniqueArray(
      fc.record({
        n: fc.integer({ min: 1, max: 6 }),
        runtime: fc.constantFrom('fake' as const, 'docker' as const),
        incarnation: fc.integer({ min: 0, max: 8 }),
        phase: fc.constantFrom(...PHASE_KINDS),
        busy: fc.boolean(),
      }),
      { selector: ({ n }) => n },
    )
    .map((all) => all.map(({ n, ...rest }) => instance(n, rest))),
  unknownToControl: fc.option(
    fc.array(fc.integer({ min: 1, max: 6 })).map((all) => new Set(all.map(id))),
    { nil: null },
  ),
  kept: fc.array(
    fc
      .record({
        n: fc.integer({ min: 1, max: 6 }),
        incarnation: fc.integer({ min: 1, max: 8 }),
        atMs: fc.integer({ min: WALL_MS - 10 * DAY_MS, max: WALL_MS }),
      })
      .map(({ n, ...rest }) => ({ id: id(n), bytes: 1, ...rest })),
    { maxLength: 8 },
  ),
  config: fc
    .record({ graceMs: fc.integer({ min: 1, max: DAY_MS }), perCycleMax: fc.integer({ min: 1, max: 5 }) })
    .map((given) => ({ ...DEFAULT_GC, ...given })),
})

test('over all worlds and times: nothing without our mark, without a trusted listing, of a busy instance, alive and known, or younger than the grace; never above the cap', () => {
  fc.assert(
    fc.property(fc.array(fc.tuple(worldArb, fc.integer({ min: 0, max: 2 * DAY_MS })), { minLength: 1, maxLength: 6 }), (rounds) => {
      let since: ReadonlyMap<string, number> = new Map()
      let elapsedMs = 0
      /** What the test itself has seen as garbage without a break. */
      let seen = new Map<string, number>()
      for (const [world, byMs] of rounds) {
        elapsedMs += byMs
        const choice = garbage(facts({ ...world, elapsedMs, wallMs: WALL_MS + elapsedMs, since }))
        const cap = world.config.perCycleMax
        expect(dueNow(choice, cap).length).toBeLessThanOrEqual(cap)
        const first = new Map(choice.candidates.map(({ key }) => [key, seen.get(key) ?? elapsedMs]))
        for (const { key, due, target, kind, reason } of choice.candidates) {
          expect(GARBAGE).toContainEqual({ kind, reason })
          if (due) expect(elapsedMs - (first.get(key) ?? elapsedMs)).toBeGreaterThanOrEqual(world.config.graceMs)
          if (target.what === 'object') {
            const from = world.runtimes.find(({ runtime }) => runtime === target.runtime)
            expect(from?.trusted).toBe(true)
            expect(key).toContain(` ${from?.series} `)
            const found = from?.objects.find((one) => one.id === target.id && one.incarnation === target.incarnation && one.matches)
            expect(found).toBeDefined()
            const owner = world.instances.find((one) => one.id === target.id)
            expect(owner === undefined || (!owner.busy && !target.alive && owner.incarnation >= target.incarnation)).toBe(true)
            if (owner === undefined) expect(world.unknownToControl).not.toBeNull()
          }
          if (target.what === 'instance') {
            expect(world.unknownToControl?.has(target.id)).toBe(true)
            expect(world.runtimes.find(({ runtime }) => runtime === target.runtime)?.trusted).toBe(true)
          }
          if (target.what === 'logs') {
            expect(world.runtimes.every(({ trusted }) => trusted)).toBe(true)
            expect(
              world.runtimes
                .flatMap(({ objects }) => objects)
                .some((one) => one.id === target.id && one.incarnation === target.incarnation),
            ).toBe(false)
          }
        }
        seen = first
        since = choice.since
      }
    }),
    { numRuns: 500 },
  )
})
