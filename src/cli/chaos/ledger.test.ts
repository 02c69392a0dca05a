import { expect, test } from 'vitest'
import { seededRandom } from '../../base/seeded-random.ts'
import { downMs, type Fault, unexplained } from './ledger.ts'
import type { Outage } from './oracle.ts'
import { summarise } from './summary.ts'
import { summaryCsv } from './summary-csv.ts'
import { falseOrphans } from './testimony.ts'

const fault = (given: Partial<Fault>): Fault => ({
  number: 1,
  kind: 'SIGKILL',
  group: 'kill',
  expects: 'recovery',
  name: 'a',
  instanceId: 'inst_a',
  atMs: 1000,
  at: '2026-01-01T00:00:00.000Z',
  lifeBefore: 'one',
  warmUp: false,
  lifeAfter: 'two',
  recoveredMs: 20,
  watchedMs: 60_000,
  why: null,
  whyNamesCause: null,
  downMs: null,
  orphans: true,
  whyLater: null,
  whyLaterNamesCause: null,
  ...given,
})
const outage = (given: Partial<Outage> = {}): Outage => ({
  name: 'a',
  lastBeat: { atMs: 990, life: 'one', pid: 7 },
  noticedAtMs: 1001,
  over: { atMs: 1020, life: 'two', pid: 8 },
  ...given,
})
const told = { steps: new Map(), instances: 2, watchedMs: 3_600_000, random: seededRandom(1) }

test('an outage that a fault explains is none of ours; one of another instance, or of another time, is', () => {
  expect(unexplained([outage()], [fault({})])).toEqual([])
  expect(unexplained([outage({ name: 'b' })], [fault({})])).toMatchObject([{ name: 'b', killed: true }])
  const later = outage({ lastBeat: { atMs: 9000, life: 'two', pid: 8 }, noticedAtMs: 9100, over: { atMs: 9200, life: 'three', pid: 9 } })
  expect(unexplained([later], [fault({})])).toMatchObject([{ killed: true, forMs: 200 }])
})

test('a silence of the same life is a busy machine, not a kill', () => {
  const quiet = outage({ name: 'b', over: { atMs: 2500, life: 'one', pid: 7 } })
  const odd = unexplained([quiet], [])
  expect(odd).toMatchObject([{ killed: false }])
  expect(summarise({ ...told, faults: [], unexplained: odd })).toMatchObject({ falseActions: 0, silences: 1 })
})

test('what never came back counts as orphaned for as long as it was watched, and against the rate', () => {
  const faults = [fault({}), fault({ number: 2, recoveredMs: null, lifeAfter: null })]
  const found = summarise({ ...told, faults, unexplained: [] })
  expect(found.groups).toMatchObject([{ group: 'kill', faults: 2, recovered: 1, rate: 0.5, recovery: { censored: 1 } }])
  expect(found.orphanedShare).toBeCloseTo(60_020 / 7_200_000, 9)
})

test('a living workload that was to be left alone and got a new life is a false action', () => {
  const kept = fault({ expects: 'patience', group: 'hang', lifeAfter: 'one' })
  const killed = fault({ number: 2, expects: 'patience', group: 'hang', lifeAfter: 'two' })
  expect(summarise({ ...told, faults: [kept], unexplained: [] }).falseActions).toBe(0)
  const found = summarise({ ...told, faults: [kept, killed], unexplained: [] })
  expect(found).toMatchObject({ falseActions: 1, groups: [{ faults: 2, recovered: 1 }] })
})

test('the warm-up is in no figure', () => {
  expect(summarise({ ...told, faults: [fault({ warmUp: true })], unexplained: [] }).groups).toEqual([])
})

test('what did not come back while it was watched was down until it did, or to the end of the run', () => {
  const never = fault({ lifeAfter: null, recoveredMs: null, watchedMs: 10_000 })
  expect(downMs(fault({}), [], 500_000)).toBe(20)
  expect(downMs(never, [outage({ over: null })], 500_000)).toBe(499_000)
  const late = outage({ over: { atMs: 91_000, life: 'two', pid: 8 } })
  expect(downMs(never, [late, outage({ name: 'b' })], 500_000)).toBe(90_000)
  const found = summarise({ ...told, faults: [{ ...never, downMs: 499_000 }], unexplained: [] })
  expect(found.orphanedShare).toBeCloseTo(499_000 / 7_200_000, 9)
})

test('an orphan that nobody made is false; one of a second end in the same episode, or of what is doomed, is not asked for twice', () => {
  const said = (instanceId: string) => ({ atMs: 1, msg: 'orphaned vm detected', instanceId })
  expect(falseOrphans([said('inst_a')], [fault({})])).toBe(0)
  expect(falseOrphans([said('inst_a'), said('inst_a')], [fault({})])).toBe(1)
  expect(falseOrphans([said('inst_b')], [fault({}), fault({ instanceId: 'inst_b', expects: 'patience', orphans: false })])).toBe(1)
  expect(falseOrphans([said('inst_a'), said('inst_a')], [fault({ expects: 'doomed', orphans: false })])).toBe(0)
})

test('the table has a row for each group, as many cells as heads, and nothing where nothing was measured', () => {
  const faults = [fault({}), fault({ number: 2, group: 'hang, to be "replaced"', recoveredMs: null })]
  const summary = summarise({ ...told, faults, unexplained: [] })
  const [head = '', first = '', second = '', ...rest] = summaryCsv({ scenario: 's', run: 'r', seed: 7 }, summary).split('\r\n')
  expect(rest).toEqual([''])
  expect(first).toMatch(/^s,r,7,kill,1,1,1,/)
  expect(second).toMatch(/^s,r,7,"hang, to be ""replaced""",1,0,0,0,1,/)
  expect(first.split(',')).toHaveLength(head.split(',').length)
  const at = head.split(',').indexOf('detect_mean_ms')
  expect(first.split(',')[at]).toBe('')
})
