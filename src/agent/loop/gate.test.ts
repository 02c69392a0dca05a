// Storms: many recoveries at once, and recoveries that keep failing. The real loop on the fake driver and a manual clock.
import { expect, test } from 'vitest'
import { agent, desired, ID } from '../../../tests/support/agent-world.ts'
import { ManualClock } from '../../../tests/support/manual-clock.ts'
import { POLICY } from '../../../tests/support/plan-world.ts'
import { RecordingLog } from '../../../tests/support/recording-log.ts'
import { failure } from '../../contracts/errors.ts'
import { InstanceId, OrgId } from '../../contracts/ids.ts'
import { DEFAULT_RELIABILITY } from '../../contracts/reliability.ts'
import { createFakeDriver } from '../drivers/fake/fake-driver.ts'
import { Gate } from './gate.ts'

const idOf = (index: number) => InstanceId.parse(`inst_${String(index).padStart(20, '0')}`)
const orgOf = (index: number) => OrgId.parse(`org_${String(index).padStart(20, '0')}`)
const BROKEN = failure('start_failed', 'The engine is out of order.')

/** So many instances, each of the organisation its number names, running and stable. */
async function running(count: number, orgFor = (_index: number) => 1, concurrencyMax = 4) {
  const clock = new ManualClock()
  const one = agent(createFakeDriver({ clock }), clock, new Map(), concurrencyMax)
  const ids = Array.from({ length: count }, (_, index) => idOf(index + 1))
  one.instances.setDesired(ids.map((id, index) => desired({ orgId: orgOf(orgFor(index)), name: `web-${index}` }, id)))
  await clock.advance(15_000)
  const record = (id: InstanceId) => one.instances.entries.get(id)?.record
  const kinds = (kind: string) => ids.filter((id) => record(id)?.phase.kind === kind)
  const starting = () => ids.filter((id) => ['preparing', 'starting'].includes(record(id)?.phase.kind ?? ''))
  expect(kinds('running')).toHaveLength(count)
  return { ...one, ids, record, kinds, starting, told: (msg: string) => one.logs.filter((line) => line.msg === msg).length }
}

test('T29: a mass death is answered by no more starts at once than permitted, and everybody is back', async () => {
  const one = await running(200)
  one.control.latency(100)
  for (const id of one.ids) one.control.exit(id, { signal: 'SIGKILL' })
  const back = () => one.ids.filter((id) => one.record(id)?.incarnation === 2 && one.record(id)?.phase.kind === 'running')
  let most = 0
  for (let step = 0; step < 1000 && back().length < 200; step += 1) {
    await one.clock.advance(70)
    most = Math.max(most, one.starting().length)
    expect(one.gate.starting).toBeLessThanOrEqual(4)
  }
  expect(most).toBe(4)
  expect(back()).toHaveLength(200)
  await one.clock.advance(2000)
  expect(one.told('vm recovery successful')).toBe(200)
  expect(one.gate).toMatchObject({ starting: 0, waiting: 0, breakerOpen: false })
})

test('T29: a hundred dead instances of one organisation delay the first of another by one turn', async () => {
  const one = await running(101, (index) => (index === 100 ? 2 : 1), 1)
  one.control.latency(100)
  for (const id of one.ids) one.control.exit(id, { signal: 'SIGKILL' })
  const other = idOf(101)
  await one.clock.advance(1000)
  expect(one.record(other)?.phase.kind).toBe('running')
  expect(one.kinds('recovering').length).toBeGreaterThan(90)
})

test('T23: the time spent in the line counts against nobody’s budget', async () => {
  const one = await running(30, () => 1, 1)
  const start = one.driver.start.bind(one.driver)
  const asked: InstanceId[] = []
  one.driver.start = async (want, signal) => {
    asked.push(want.id)
    await one.clock.sleep(50_000, signal)
    return start(want, signal)
  }
  for (const id of one.ids) one.control.exit(id, { signal: 'SIGKILL' })
  // The last ones wait for far longer than the whole budget of an episode. One of them fails at its first attempt, and may try again.
  for (let step = 0; step < 1000 && asked.length < 29; step += 1) await one.clock.advance(10_000)
  const last = asked.at(-1) ?? ID
  expect(one.record(last)?.episode?.queuedMs).toBeGreaterThan(2 * POLICY.recoveryTimeoutMs)
  one.control.failNext('start', BROKEN)
  await one.clock.advance(3_600_000)
  const outcomes = one.record(last)?.attempts.map(({ outcome }) => outcome)
  expect(outcomes?.slice(-2)).toEqual(['failure', 'success'])
  expect(one.kinds('running')).toHaveLength(30)
  expect(one.told('vm recovery failed completely')).toBe(0)
})

test('T28: stopped in the line: it leaves it, nothing is started for it, and the others have their turn', async () => {
  const one = await running(6, () => 1, 1)
  one.control.latency(1000)
  for (const id of one.ids) one.control.exit(id, { signal: 'SIGKILL' })
  await one.clock.advance(1500)
  const last = one.ids.at(-1) ?? ID
  expect(one.instances.observed(last)?.waits).toMatchObject({ kind: 'queued' })
  const { incarnation } = one.record(last) ?? {}
  const { waiting } = one.gate
  one.instances.setDesired([desired({ name: 'web-5', generation: 2, want: 'stopped' }, last)])
  await one.clock.advance(0)
  expect(one.gate.waiting).toBe(waiting - 1)
  await one.clock.advance(60_000)
  expect(one.record(last)).toMatchObject({ incarnation, phase: { kind: 'stopped' } })
  expect(one.kinds('running')).toHaveLength(5)
  expect(one.gate).toMatchObject({ starting: 0, waiting: 0 })
})

test('T32: recoveries that keep failing open the breaker of the node: no attempt is burnt, force goes through, one at a time tries, it closes', async () => {
  const one = await running(12)
  one.control.failNext('start', BROKEN, 8)
  for (const id of one.ids) one.control.exit(id, { signal: 'SIGKILL' })
  await one.clock.advance(1000)
  expect(one.gate.breakerOpen).toBe(true)
  expect(one.told('recovery breaker opened')).toBe(1)
  const attempts = () => one.ids.reduce((sum, id) => sum + (one.record(id)?.incarnation ?? 0), 0)
  const before = attempts()
  await one.clock.advance(20_000)
  expect(attempts()).toBe(before)
  expect(one.instances.observed(idOf(12))?.waits).toMatchObject({ kind: 'paused' })
  // By hand.
  one.instances.setDesired([desired({ name: 'web-0', generation: 2, recoverSeq: 1 }, idOf(1))])
  await one.clock.advance(2000)
  expect(one.record(idOf(1))?.phase.kind).toBe('running')
  // Half open: the trials succeed, one after the other, and everything comes back.
  await one.clock.advance(120_000)
  expect(one.told('recovery breaker closed')).toBe(1)
  expect(one.kinds('running')).toHaveLength(12)
  expect(one.told('vm recovery failed completely')).toBe(0)
  expect(one.kinds('quarantined')).toEqual([])
})

test('T32: half open, a failing trial opens it again, for longer; one start at a time is made meanwhile', async () => {
  const one = await running(12)
  one.control.failNext('start', BROKEN, 9)
  for (const id of one.ids) one.control.exit(id, { signal: 'SIGKILL' })
  await one.clock.advance(40_000)
  expect(one.told('recovery breaker opened')).toBe(2)
  const attempts = () => one.ids.reduce((sum, id) => sum + (one.record(id)?.incarnation ?? 0), 0)
  const before = attempts()
  await one.clock.advance(45_000)
  expect(attempts()).toBe(before)
  await one.clock.advance(60_000)
  expect(one.kinds('running')).toHaveLength(12)
})

/** A gate by itself whose breaker has just become half open, with two that wait; whose turn came, in order. */
function halfOpen() {
  const clock = new ManualClock()
  const turns: InstanceId[] = []
  const { breaker } = DEFAULT_RELIABILITY
  const gate = new Gate({ clock, log: new RecordingLog(), concurrencyMax: 4, breaker, nudge: (id) => void turns.push(id) })
  for (let failed = 0; failed < breaker.failuresMin; failed += 1) gate.concluded(idOf(failed + 1), false)
  const [first, second] = [idOf(101), idOf(102)]
  for (const id of [first, second]) gate.isAt(id, orgOf(1), 'waiting')
  const becomeHalfOpen = () => clock.advance(breaker.openMs)
  return { clock, gate, turns, first, second, becomeHalfOpen, windowMs: breaker.windowMs }
}

test('T32: half open, a trial that runs and is not proven keeps the next one waiting', async () => {
  const { gate, turns, first, second, becomeHalfOpen } = halfOpen()
  expect(turns).toEqual([])
  await becomeHalfOpen()
  expect(turns).toEqual([first])
  gate.isAt(first, orgOf(1), 'starting')
  gate.isAt(first, orgOf(1), 'unproven')
  expect([turns, gate.turnOf(second).kind]).toEqual([[first], 'queued'])
  gate.concluded(first, true)
  gate.isAt(first, orgOf(1), 'away')
  expect(turns).toEqual([first, second])
})

test('T32: half open, a trial that takes longer than a window does not close it by its silence', async () => {
  const { clock, gate, turns, first, second, becomeHalfOpen, windowMs } = halfOpen()
  await becomeHalfOpen()
  gate.isAt(first, orgOf(1), 'starting')
  await clock.advance(2 * windowMs)
  expect([gate.breakerOpen, turns, gate.turnOf(second).kind]).toEqual([true, [first], 'queued'])
  gate.isAt(first, orgOf(1), 'away')
  expect([gate.breakerOpen, turns]).toEqual([false, [first, second]])
})

test('T31: one that ends every fifteen seconds ran well each time, and is quarantined all the same; by hand it starts afresh', async () => {
  const one = await running(1)
  for (let end = 0; end < 10; end += 1) {
    one.control.exit(ID, { code: 1 })
    await one.clock.advance(15_000)
    expect(one.record(ID)?.phase.kind).toBe('running')
  }
  one.control.exit(ID, { code: 1 })
  await one.clock.advance(1000)
  expect(one.record(ID)?.phase).toMatchObject({ kind: 'quarantined', reason: 'crash_loop', attempt: 11 })
  expect(one.told('instance quarantined')).toBe(1)
  expect(one.told('recovery breaker opened')).toBe(1)
  // Half open: one trial when it has cooled down; it ends again, and is quarantined again.
  await one.clock.advance(301_000)
  expect(one.record(ID)?.phase.kind).toBe('running')
  one.control.exit(ID, { code: 1 })
  await one.clock.advance(1000)
  expect(one.record(ID)?.phase.kind).toBe('quarantined')
  one.instances.setDesired([desired({ generation: 2, recoverSeq: 1 })])
  await one.clock.advance(15_000)
  expect(one.record(ID)).toMatchObject({ phase: { kind: 'running' }, ends: [] })
})
