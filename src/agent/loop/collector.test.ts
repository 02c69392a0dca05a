// Garbage collection of an agent on the fake driver and a manual clock: what goes, when, and what is left and told of it.
import { expect, test } from 'vitest'
import { agent, desired, ID } from '../../../tests/support/agent-world.ts'
import { ManualClock, settle } from '../../../tests/support/manual-clock.ts'
import { must } from '../../../tests/support/stores.ts'
import { DEFAULT_GC } from '../../contracts/gc-config.ts'
import { InstanceId } from '../../contracts/ids.ts'
import type { Target } from '../drivers/driver.ts'
import { createFakeDriver } from '../drivers/fake/fake-driver.ts'

const STRAY = InstanceId.parse('inst_0000000000000000stra')
const OTHER = InstanceId.parse('inst_0000000000000000othe')
const GRACE_MS = DEFAULT_GC.graceMs
const ALL = { dryRun: false, images: false, unknown: false }
const LOOK = { ...ALL, dryRun: true }

type World = ReturnType<typeof agent>

/** A runtime object with our mark that the agent does not know. */
async function stray({ driver }: World, id = STRAY, command = ['fake', 'run']): Promise<Target> {
  const { spec, name } = desired({}, id)
  const target = { id, incarnation: 1, nonce: `nonce-${id}` }
  const want = { ...target, name, spec: { ...spec, command }, labels: {}, hostPorts: [], platformEnv: {} }
  must(await driver.start(want, new AbortController().signal))
  return target
}

/** Of an instance that the agent does not know. */
async function keepEvidence({ clock, residue }: World): Promise<void> {
  const nothing = { lastError: null, attempts: [], outputs: [] }
  must(await residue.evidence.keep({ id: STRAY, name: 'web', runtime: 'fake', savedAtMs: clock.wallMs(), ...nothing }))
}

const alive = ({ control }: World, id = STRAY): number => control.live(id).length
const running = async (world: World, ...ids: readonly InstanceId[]) => {
  await world.scanner.start()
  world.instances.setDesired(ids.map((id) => desired({ name: `n-${id.slice(-4)}` }, id)))
  await world.clock.advance(5000)
}

test('C55: a stray goes after the grace and not before; it is told once, kept until stored, and leaves its output', async () => {
  const world = agent()
  await running(world)
  const { collector, outbox, sent } = world.collecting()
  collector.welcomed(new Set())
  collector.start()
  await stray(world, STRAY, ['fake', 'print', Buffer.from('last words').toString('base64'), ''])
  await world.clock.advance(GRACE_MS)
  expect(alive(world)).toBe(1)
  await world.clock.advance(DEFAULT_GC.intervalMs * 2)
  expect(alive(world)).toBe(0)
  expect(world.logs.filter(({ msg }) => msg === 'resource collected')).toEqual([{ level: 'info', msg: 'resource collected' }])
  expect(Buffer.from(world.residue.kept.get(STRAY)?.outputs[0]?.stdout ?? []).toString()).toBe('last words')
  expect(sent[0]).toMatchObject({ kind: 'stray', reason: 'no_instance', id: STRAY, incarnation: 1, runtime: 'fake', bytes: 10 })
  expect(sent[0]?.ageMs).toBeGreaterThanOrEqual(GRACE_MS)
  expect(world.residue.untoldItems).toHaveLength(1)
  await world.clock.advance(60_000)
  expect(new Set(sent.map(({ key }) => key)).size).toBe(1)
  expect(sent.length).toBeGreaterThan(1)
  outbox.stored([sent[0]?.key ?? ''])
  const told = sent.length
  await world.clock.advance(120_000)
  expect([sent.length, world.residue.untoldItems.length]).toEqual([told, 0])
})

test('a dry run lists it with age, size and when it is due, and collects nothing, however often it is asked', async () => {
  const world = agent()
  await running(world)
  const { collector } = world.collecting()
  collector.welcomed(new Set())
  await stray(world)
  expect((await collector.ask(LOOK)).candidates).toMatchObject([{ id: STRAY, due: false, dueInMs: GRACE_MS, bytes: 0 }])
  await world.clock.advance(GRACE_MS)
  for (const _ of [1, 2]) expect(await collector.ask(LOOK)).toMatchObject({ candidates: [{ id: STRAY, due: true }], collected: [] })
  expect(alive(world)).toBe(1)
  expect(await collector.ask(ALL)).toMatchObject({ candidates: [], collected: [{ id: STRAY }] })
  expect(alive(world)).toBe(0)
})

test('C53: after an outage, a partial or a failed listing the grace begins anew, and meanwhile nothing goes', async () => {
  const breaks: readonly ((world: World) => Promise<void>)[] = [
    async (world) => {
      world.control.reachable(false)
      await world.scanner.scan('fake')
      world.control.reachable(true)
    },
    async (world) => {
      world.control.partialListings(true)
      await world.scanner.scan('fake')
      world.control.partialListings(false)
    },
    async (world) => {
      world.control.failNext('list', { code: 'runtime_error', detail: 'no' })
      await world.scanner.scan('fake')
    },
    async (world) => world.scanner.reachable('fake'),
  ]
  for (const interrupt of breaks) {
    const world = agent()
    await running(world)
    const { collector } = world.collecting()
    collector.welcomed(new Set())
    await stray(world)
    await collector.ask(ALL)
    await world.clock.advance(GRACE_MS - 1000)
    await interrupt(world)
    await world.clock.advance(2000)
    expect(await collector.ask(ALL)).toMatchObject({ candidates: [{ due: false }], collected: [] })
    expect(alive(world)).toBe(1)
  }
})

test('C53: while the runtime does not answer nothing is named at all', async () => {
  const world = agent()
  await running(world)
  const { collector } = world.collecting()
  collector.welcomed(new Set())
  await stray(world)
  await collector.ask(ALL)
  await world.clock.advance(GRACE_MS)
  world.control.reachable(false)
  const report = await collector.ask(ALL)
  expect(report).toMatchObject({ candidates: [], collected: [] })
  expect(report.notes.join()).toContain('fake: it does not answer')
  world.control.reachable(true)
  expect(alive(world)).toBe(1)
})

test('one that has not been welcomed collects no strays', async () => {
  const world = agent()
  await running(world)
  const { collector } = world.collecting()
  await stray(world)
  await collector.ask(ALL)
  await world.clock.advance(GRACE_MS * 2)
  const report = await collector.ask(ALL)
  expect([report.candidates, report.collected]).toEqual([[], []])
  expect(report.notes.join()).toContain('has not told its wishes')
})

test('what is wished in the very moment of its collection is left', async () => {
  const world = agent()
  await running(world)
  const { collector } = world.collecting()
  collector.welcomed(new Set())
  await stray(world)
  await collector.ask(ALL)
  await world.clock.advance(GRACE_MS)
  const asked = collector.ask(ALL)
  // The listing is under way; the wish comes before what it shows is acted upon.
  world.instances.setDesired([desired({}, STRAY)])
  expect((await asked).collected).toEqual([])
})

/** Something happens after it was chosen, while its size is being asked for, which is right before it goes. */
function whileWeighed({ driver }: World, happens: () => unknown): void {
  const weigh = driver.weigh.bind(driver)
  driver.weigh = async (target, signal) => {
    driver.weigh = weigh
    await happens()
    return weigh(target, signal)
  }
}

test.each<[string, (world: World) => unknown]>([
  ['it is wished by now', (world) => world.instances.setDesired([desired({}, STRAY)])],
  [
    'its runtime was away meanwhile',
    (world) => {
      world.control.reachable(false)
      world.scanner.reachable('fake')
      world.control.reachable(true)
    },
  ],
])('what was chosen is looked at once more right before it goes: %s', async (_, happens) => {
  const world = agent()
  await running(world)
  const { collector } = world.collecting()
  collector.welcomed(new Set())
  await stray(world)
  await collector.ask(ALL)
  await world.clock.advance(GRACE_MS)
  whileWeighed(world, () => happens(world))
  const report = await collector.ask(ALL)
  expect([report.collected, report.notes.length, alive(world)]).toEqual([[], 1, 1])
})

test('a question during a listing has one of its own, and two questions at once collect a stray once', async () => {
  const clock = new ManualClock()
  const world = agent(createFakeDriver({ clock }), clock)
  await running(world)
  const { collector, sent } = world.collecting()
  collector.welcomed(new Set())
  await stray(world)
  await collector.ask(ALL)
  await world.clock.advance(GRACE_MS)
  world.control.latency(100)
  void world.scanner.scan('fake')
  await world.clock.advance(50)
  const reports = [collector.ask(ALL), collector.ask(ALL)]
  await world.clock.advance(30_000)
  const collected = (await Promise.all(reports)).flatMap((report) => report.collected)
  expect([collected.map(({ id }) => id), sent.length]).toEqual([[STRAY], 1])
})

test('C53: a runtime that does not list in time is left out, whatever an older listing showed', async () => {
  const world = agent()
  await running(world)
  const { collector } = world.collecting()
  collector.welcomed(new Set())
  await stray(world)
  await collector.ask(ALL)
  await world.clock.advance(GRACE_MS)
  world.control.hangNext('list', 9)
  const asked = collector.ask(ALL)
  await world.clock.advance(60_000)
  const report = await asked
  expect([report.collected, alive(world)]).toEqual([[], 1])
  expect(report.notes.join()).toContain('fake: it does not answer')
})

test('C53: so is one that lists and says that it cannot be used', async () => {
  const world = agent()
  await running(world)
  const { collector } = world.collecting()
  collector.welcomed(new Set())
  await stray(world)
  const status = await world.driver.status(new AbortController().signal)
  world.driver.status = async () => ({ ...status, usable: false })
  world.scanner.reachable('fake')
  await settle()
  await collector.ask(ALL)
  await world.clock.advance(GRACE_MS)
  expect(await collector.ask(ALL)).toMatchObject({ candidates: [], collected: [] })
})

test('at most so many per cycle, those that were garbage for longest first', async () => {
  const world = agent()
  // As many of its own, or so many strays would be held back.
  const own = [ID, STRAY, InstanceId.parse('inst_0000000000000000mine')]
  await running(world, ...own)
  const { collector } = world.collecting({ perCycleMax: 2 })
  collector.welcomed(new Set(own))
  const ids = [1, 2, 3].map((n) => InstanceId.parse(`inst_0000000000000000000${n}`)).filter((id) => id !== ID)
  for (const id of [...ids, OTHER]) {
    await stray(world, id)
    await collector.ask(LOOK)
    await world.clock.advance(10)
  }
  await world.clock.advance(GRACE_MS)
  const report = await collector.ask(ALL)
  expect(report.collected.map(({ id }) => id).sort()).toEqual(ids.slice(0, 2))
  expect(report.notes).toContain('1 more are due: a cycle collects 2 at most.')
})

test('an instance that only this node knows goes as if it were deleted, with evidence; a wish for it keeps it', async () => {
  const world = agent()
  await running(world, ID, OTHER, STRAY)
  const { collector } = world.collecting()
  collector.welcomed(new Set([ID, OTHER]))
  await collector.ask(ALL)
  await world.clock.advance(GRACE_MS)
  collector.known([STRAY])
  expect((await collector.ask(ALL)).collected).toEqual([])
  collector.welcomed(new Set([ID, OTHER]))
  await collector.ask(ALL)
  await world.clock.advance(GRACE_MS)
  expect((await collector.ask(ALL)).collected).toMatchObject([{ id: STRAY, reason: 'unknown_to_control' }])
  await world.clock.advance(20_000)
  expect(world.instances.entries.get(STRAY)?.record.phase.kind).toBe('deleted')
  expect(world.instances.entries.get(STRAY)?.record.desired.want).toBe('running')
  expect([alive(world), alive(world, ID), alive(world, OTHER)]).toEqual([0, 1, 1])
  expect(world.residue.kept.has(STRAY)).toBe(true)
  // What it told was acknowledged, as everything is: then nothing of it is left.
  world.instances.acked(STRAY, world.instances.entries.get(STRAY)?.record.seq ?? 0)
  await settle()
  expect(world.instances.entries.has(STRAY)).toBe(false)
})

test('a control plane that lacks most of them has lost its memory: held back, unless a person says so', async () => {
  const world = agent()
  await running(world, ID, OTHER, STRAY)
  const { collector } = world.collecting()
  collector.welcomed(new Set([ID]))
  await collector.ask(ALL)
  await world.clock.advance(GRACE_MS * 10)
  const held = await collector.ask(ALL)
  expect(held).toMatchObject({
    candidates: [
      { due: false, dueInMs: null },
      { due: false, dueInMs: null },
    ],
    collected: [],
  })
  expect(held.notes).toEqual([expect.stringContaining('2 are held back')])
  expect(world.logs.filter(({ msg }) => msg === 'garbage held back')).toMatchObject([{ level: 'warn' }])
  expect((await collector.ask({ ...ALL, unknown: true })).collected).toHaveLength(2)
  await world.clock.advance(20_000)
  expect([alive(world, ID), alive(world, OTHER), alive(world)]).toEqual([1, 0, 0])
})

test('a deleted instance leaves evidence when it had failed, none when it had not, and none when it is purged', async () => {
  const world = agent()
  const failing = (id: InstanceId, change = {}) =>
    desired({ name: 'f', restart: undefined, spec: { ...desired().spec, command: ['fake', 'exit', '3'] }, ...change } as never, id)
  await world.scanner.start()
  world.instances.setDesired([failing(STRAY), failing(OTHER), desired()])
  await world.clock.advance(20_000)
  world.instances.setDesired([
    failing(STRAY, { generation: 2, want: 'deleted' }),
    failing(OTHER, { generation: 2, want: 'deleted', purge: true }),
    desired({ generation: 2, want: 'deleted' }),
  ])
  await world.clock.advance(60_000)
  expect([STRAY, OTHER, ID].map((id) => world.instances.entries.get(id)?.record.phase.kind)).toEqual(['deleted', 'deleted', 'deleted'])
  expect([...world.residue.kept.keys()]).toEqual([STRAY])
  expect(world.residue.kept.get(STRAY)?.lastError?.code).toBeDefined()
})

test('switched off it does nothing by itself, and what is asked by hand', async () => {
  const world = agent()
  await running(world)
  const { collector } = world.collecting({ enabled: false })
  collector.welcomed(new Set())
  collector.start()
  await stray(world)
  await collector.ask(LOOK)
  await world.clock.advance(GRACE_MS * 3)
  expect(alive(world)).toBe(1)
  expect((await collector.ask(ALL)).collected).toHaveLength(1)
})

test('evidence stays for its retention, over restarts of what keeps it, and goes after it', async () => {
  const world = agent()
  await running(world)
  const { collector } = world.collecting()
  collector.welcomed(new Set([ID]))
  collector.start()
  await keepEvidence(world)
  await world.clock.advance(DEFAULT_GC.evidenceMs - 1000)
  expect(world.residue.kept.has(STRAY)).toBe(true)
  await world.clock.advance(GRACE_MS + 2 * DEFAULT_GC.intervalMs)
  expect(world.residue.kept.has(STRAY)).toBe(false)
})

test('a wall clock that jumps years ahead takes no evidence before the grace', async () => {
  const world = agent()
  await running(world)
  const { collector } = world.collecting()
  collector.welcomed(new Set([ID]))
  await keepEvidence(world)
  world.clock.jump(10 * DEFAULT_GC.evidenceMs)
  await collector.ask(ALL)
  world.clock.jump(-10 * DEFAULT_GC.evidenceMs)
  await world.clock.advance(GRACE_MS)
  expect((await collector.ask(ALL)).collected).toEqual([])
  expect(world.residue.kept.has(STRAY)).toBe(true)
})
