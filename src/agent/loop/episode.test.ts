// One episode from end to end: what begins it, what its attempts replay, how they fail, who else may notice it meanwhile.
// The real loop on the fake driver and a manual clock.
import { expect, test } from 'vitest'
import { agent, desired, ID } from '../../../tests/support/agent-world.ts'
import { specOf } from '../../../tests/support/control-records.ts'
import { ManualClock } from '../../../tests/support/manual-clock.ts'
import { failure } from '../../contracts/errors.ts'
import { createFakeDriver, type FakeControl, type FakeVerb } from '../drivers/fake/fake-driver.ts'

const SPEC = specOf({
  runtime: 'fake',
  command: ['fake', 'run', '--mode', 'a b'],
  env: { KEY: 'value', EMPTY: '' },
  labels: { app: 'web' },
})
const BROKEN = failure('start_failed', 'The engine is out of order.')

/** Runtime and agent on the same clock. */
function fresh() {
  const clock = new ManualClock()
  return agent(createFakeDriver({ clock }), clock)
}

async function running() {
  const one = fresh()
  const told = (msg: string) => one.logs.filter((line) => line.msg === msg).length
  one.instances.setDesired([desired({ spec: SPEC })])
  await one.clock.advance(20_000)
  expect(one.kind()).toBe('running')
  return { ...one, told, objects: () => one.control.world.objects }
}

test('T14: scans during a start and during a deletion make no orphan of what is not there yet, or not any more', async () => {
  const one = fresh()
  one.control.latency(3000)
  one.instances.setDesired([desired()])
  for (let scan = 0; scan < 5; scan += 1) {
    void one.scanner.scan('fake')
    await one.clock.advance(1000)
  }
  await one.clock.advance(20_000)
  expect(one.entry()?.record).toMatchObject({ incarnation: 1, phase: { kind: 'running' } })
  one.instances.setDesired([desired({ generation: 2, want: 'deleted' })])
  for (let scan = 0; scan < 5; scan += 1) {
    void one.scanner.scan('fake')
    await one.clock.advance(1000)
  }
  await one.clock.advance(20_000)
  expect(one.kind()).toBe('deleted')
  expect(one.logs.filter(({ msg }) => msg === 'orphaned vm detected')).toEqual([])
  expect([one.entry()?.record.incarnation, one.control.world.objects]).toEqual([1, []])
})

test('T17: an attempt starts the whole spec on a new object, and is a success only when that has proven itself', async () => {
  const one = await running()
  one.control.exit(ID, { signal: 'SIGKILL' })
  await one.clock.advance(900)
  expect([one.kind(), one.told('vm recovery successful')]).toEqual(['running', 0])
  await one.clock.advance(200)
  expect(one.told('vm recovery successful')).toBe(1)
  const [first, second] = one.objects().map(({ want }) => want)
  expect(first?.spec).toEqual(SPEC)
  expect(second).toEqual({ ...first, incarnation: 2, nonce: second?.nonce })
  expect(second?.nonce).not.toBe(first?.nonce)
  expect(one.instances.observed(ID)?.pid).toBe(one.control.live(ID)[0]?.pid)
})

const STEPS: readonly (readonly [string, (control: FakeControl) => void, 'recovered' | 'back by itself'])[] = [
  ...(['prepare', 'start'] as const).map(
    (verb: FakeVerb) => [`its ${verb} fails`, (control: FakeControl) => control.failNext(verb, BROKEN), 'recovered'] as const,
  ),
  ['its start hangs', (control) => control.hangNext('start'), 'recovered'],
  // The answer was lost, the object was not: it is found, and nothing is made beside it.
  ['its start succeeds and says that it failed', (control) => control.failAfterNext('start', BROKEN), 'back by itself'],
]
test.each(STEPS)(
  'T18: an attempt that fails because %s leaves nothing beside it, and it is back with one outcome',
  async (_step, breaks, how) => {
    const one = await running()
    breaks(one.control)
    one.control.exit(ID, { signal: 'SIGKILL' })
    await one.clock.advance(400_000)
    expect(one.kind()).toBe('running')
    expect(one.control.live(ID)).toHaveLength(1)
    expect(one.told('vm recovery attempt failed')).toBe(1)
    expect([one.told('vm recovery successful'), one.told('recovery cancelled')]).toEqual(how === 'recovered' ? [1, 0] : [0, 1])
    expect(one.told('orphaned vm detected')).toBe(1)
  },
)

test('T18: one that ends before it has proven itself is a failed attempt, and its place is free', async () => {
  const one = await running()
  one.control.exit(ID, { signal: 'SIGKILL' })
  await one.clock.advance(500)
  one.control.exit(ID, { code: 3 })
  await one.clock.advance(100)
  expect([one.told('vm recovery attempt failed'), one.control.live(ID).length]).toEqual([1, 0])
  await one.clock.advance(40_000)
  expect([one.kind(), one.told('vm recovery successful'), one.told('orphaned vm detected')]).toEqual(['running', 1, 1])
})

test('T24: exit event, scan, failed check and a person notice the same end: one episode, one new object, one outcome', async () => {
  const one = await running()
  one.control.latency(200)
  one.control.exit(ID, { signal: 'SIGKILL' })
  for (let turn = 0; turn < 6; turn += 1) {
    void one.scanner.scan('fake')
    one.instances.lookAgain(ID)
    one.instances.nudge(ID)
    if (turn === 1) one.instances.setDesired([desired({ spec: SPEC, generation: 2, recoverSeq: 1 })])
    await one.clock.advance(70)
  }
  await one.clock.advance(30_000)
  expect(one.entry()?.record).toMatchObject({ incarnation: 2, episode: null, phase: { kind: 'running' } })
  expect(one.objects()).toHaveLength(2)
  expect(['orphaned vm detected', 'attempting vm recovery', 'vm recovery successful'].map(one.told)).toEqual([1, 1, 1])
})

test.each<[string, (one: Awaited<ReturnType<typeof running>>) => Promise<void>]>([
  ['attempt', async ({ control }) => control.hangNext('start')],
  ['wait', async ({ control }) => control.failNext('start', BROKEN)],
  ['look', async ({ control }) => control.hangNext('inspect')],
  [
    'scan',
    async ({ control, scanner }) => {
      control.hangNext('list')
      void scanner.scan('fake')
    },
  ],
])('T37: closed during a %s, nothing of the agent goes on and no timer stays; twice is once', async (_when, begin) => {
  const one = await running()
  await begin(one)
  one.control.exit(ID, { signal: 'SIGKILL' })
  one.instances.lookAgain(ID)
  await one.clock.advance(500)
  one.scanner.close()
  const closing = Promise.all([one.instances.close(), one.instances.close()])
  // A call of a runtime has its own deadline.
  await one.clock.advance(10_000)
  await closing
  const made = one.objects().length
  await one.clock.advance(3_600_000)
  expect(one.objects()).toHaveLength(made)
  expect(one.clock.timers).toBe(0)
})

test('C35: deleted during its first start: the start is given up, and nothing of it remains', async () => {
  const one = fresh()
  one.control.hangNext('start')
  one.instances.setDesired([desired()])
  await one.clock.advance(100)
  expect(one.kind()).toBe('starting')
  one.instances.setDesired([desired({ generation: 2, want: 'deleted' })])
  await one.clock.advance(100)
  expect(one.kind()).toBe('deleted')
  expect([one.control.live(ID).length, one.ledger.reservedMemoryBytes]).toEqual([0, 0])
})

test('C56: a deletion that the runtime refuses stays one and is repeated; it is told as done only when nothing is left', async () => {
  const one = await running()
  one.control.failNext('remove', failure('runtime_error', 'busy'), 3)
  one.instances.setDesired([desired({ spec: SPEC, generation: 2, want: 'deleted' })])
  await one.clock.advance(1000)
  expect(one.instances.observed(ID)?.phase).toMatchObject({ kind: 'stopping', towards: 'deleted', lastError: { code: 'runtime_error' } })
  await one.clock.advance(20_000)
  expect(one.kind()).toBe('deleted')
  expect(one.objects().filter(({ removed }) => !removed)).toEqual([])
  one.instances.setDesired([desired({ spec: SPEC, generation: 3, want: 'deleted' })])
  await one.clock.advance(1000)
  expect(one.kind()).toBe('deleted')
})

test.each([1, 2])(
  'T26: incarnation %i runs again and its event got lost: found before the next attempt, so never two live',
  async (which) => {
    const one = await running()
    one.control.failNext('start', BROKEN)
    one.control.exit(ID, { signal: 'SIGKILL' })
    await one.clock.advance(100)
    expect(one.kind()).toBe('recovering')
    const [old] = one.objects()
    if (!old) throw new Error('nothing ran')
    // The run before, started again by somebody else; or the attempt that was given up, which took effect late.
    if (which === 1) Object.assign(old, { state: 'running', exit: null })
    else one.control.world.start({ ...old.want, incarnation: 2, nonce: one.entry()?.record.nonce ?? '' }, true)
    for (let second = 0; second < 60; second += 1) {
      await one.clock.advance(1000)
      expect(one.control.live(ID)).toHaveLength(1)
    }
    expect(one.entry()?.record).toMatchObject({ incarnation: which === 1 ? 3 : 2, phase: { kind: 'running' } })
  },
)

test('T01: recovery switched off on the node lets go of a start that hangs, at once', async () => {
  const one = agent()
  one.instances.setDesired([desired()])
  await one.clock.advance(20_000)
  one.control.hangNext('start')
  one.control.exit(ID, { signal: 'SIGKILL' })
  await one.clock.advance(1000)
  expect(one.kind()).toBe('starting')
  one.settings.policy = { ...one.settings.policy, mode: 'off' }
  one.instances.settingsChanged()
  await one.clock.advance(1000)
  expect(one.entry()?.record.phase).toMatchObject({ kind: 'failed', reason: 'recovery_off' })
  expect(one.control.live(ID)).toEqual([])
})
