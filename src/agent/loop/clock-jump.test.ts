// The wall clock is set while something is counted: what counts is the time that passed, not what the clock says.
import { expect, test } from 'vitest'
import { agent, desired, ID } from '../../../tests/support/agent-world.ts'
import { ManualClock } from '../../../tests/support/manual-clock.ts'
import { failure } from '../../contracts/errors.ts'
import { createFakeDriver } from '../drivers/fake/fake-driver.ts'

const HOUR_MS = 3_600_000
const DAY_MS = 24 * HOUR_MS

/** One that ran well, ended, and failed its first attempt: the next is due in 24 to 30 s. */
async function recovering() {
  const clock = new ManualClock()
  const one = agent(createFakeDriver({ clock }), clock)
  one.instances.setDesired([desired()])
  await clock.advance(20_000)
  one.control.failNext('start', failure('start_failed', 'no'))
  one.control.exit(ID, { signal: 'SIGKILL' })
  await clock.advance(10)
  expect(one.kind()).toBe('recovering')
  return one
}

/** The next agent on the same journal and runtime, after `jumpMs` of the wall clock in which no time passed. */
async function restarted(first: Awaited<ReturnType<typeof recovering>>, jumpMs: number) {
  await first.instances.close()
  const lines = first.kept.get(ID)?.lines ?? []
  const last = lines.at(-1)
  if (!last) throw new Error('nothing was journalled')
  first.clock.jump(jumpMs)
  const second = agent({ driver: first.control.reopen(), control: first.control }, first.clock, first.kept)
  second.instances.adopt([{ last, transitions: [] }])
  await second.scanner.scan('fake')
  await second.clock.advance(10)
  return second
}

const told = (one: Awaited<ReturnType<typeof recovering>>, msg: string) => one.logs.filter((line) => line.msg === msg)

test.each([HOUR_MS, -HOUR_MS, 400 * DAY_MS])(
  'T44: set by %d ms in an episode: its waits stay as long as they were, and its budget',
  async (jumpMs) => {
    const one = await recovering()
    one.clock.jump(jumpMs)
    await one.clock.advance(20_000)
    one.instances.nudge(ID)
    await one.clock.advance(10)
    expect(one.entry()?.record).toMatchObject({ incarnation: 2, phase: { kind: 'recovering' } })
    one.control.failNext('start', failure('start_failed', 'no'))
    await one.clock.advance(10_000)
    // The second attempt was made and failed: a wait of 48 to 60 s, not the end of the episode.
    expect(one.entry()?.record).toMatchObject({ incarnation: 3, phase: { kind: 'recovering' } })
    one.clock.jump(jumpMs)
    await one.clock.advance(40_000)
    one.instances.nudge(ID)
    await one.clock.advance(10)
    expect(one.entry()?.record.incarnation).toBe(3)
    await one.clock.advance(22_000)
    expect(one.entry()?.record).toMatchObject({ incarnation: 4, verified: true, phase: { kind: 'running' } })
    expect(told(one, 'vm recovery failed completely')).toEqual([])
    expect(told(one, 'vm recovery successful')).toHaveLength(1)
  },
)

test('what is told of an instance is in the time that the clock says now', async () => {
  const one = await recovering()
  one.clock.jump(HOUR_MS)
  one.instances.nudge(ID)
  await one.clock.advance(10)
  const phase = one.instances.observed(ID)?.phase
  const dueMs = phase !== undefined && 'nextAttemptAtMs' in phase ? phase.nextAttemptAtMs : 0
  expect(dueMs - one.clock.wallMs()).toBeGreaterThan(20_000)
  expect(dueMs - one.clock.wallMs()).toBeLessThan(31_000)
})

test('a workload killed an hour of clock after its start, which was a second ago, is no stable one', async () => {
  const clock = new ManualClock()
  const one = agent(createFakeDriver({ clock }), clock)
  one.instances.setDesired([desired()])
  await clock.advance(1500)
  one.control.exit(ID, { code: 1 })
  await clock.advance(1500)
  clock.jump(HOUR_MS)
  one.control.exit(ID, { code: 1 })
  await clock.advance(10)
  expect(one.kind()).toBe('crash_looping')
})

test.each([
  ['ahead', DAY_MS, 30_000],
  ['back', -DAY_MS, 30_000],
])('T44, C51: set %s while no agent ran: the episode goes on, and waits no longer than it would have', async (_way, jumpMs, withinMs) => {
  const first = await recovering()
  first.control.failNext('start', failure('start_failed', 'no'))
  const second = await restarted(first, jumpMs)
  await second.clock.advance(withinMs)
  expect(second.entry()?.record).toMatchObject({ incarnation: 3, phase: { kind: 'recovering' } })
  await second.clock.advance(62_000)
  expect(second.entry()?.record).toMatchObject({ incarnation: 4, verified: true, phase: { kind: 'running' } })
  expect(told(second, 'vm recovery failed completely')).toEqual([])
})
