import fc from 'fast-check'
import { expect, test } from 'vitest'
import { InstanceId } from '../../contracts/ids.ts'
import { type Breaker, type BreakerConfig, CLOSED, conclude, elapse, slots } from './breaker.ts'

const CONFIG: BreakerConfig = { windowMs: 60_000, failuresMin: 5, failureRatio: 0.5, openMs: 30_000, openMsMax: 300_000, trials: 3 }
const idOf = (index: number) => InstanceId.parse(`inst_${String(index).padStart(20, '0')}`)

/** Each outcome of a new instance, one second apart. */
function after(outcomes: readonly boolean[], from: Breaker = CLOSED, atMs = 0): Breaker {
  return outcomes.reduce((breaker, ok, index) => conclude(breaker, CONFIG, { id: idOf(index), ok, atMs: atMs + index * 1000 }), from)
}
const failures = (count: number) => Array.from({ length: count }, () => false)

test('T32: opens when enough different instances failed and they are the greater part', () => {
  expect(after(failures(4)).kind).toBe('closed')
  expect(after(failures(5))).toMatchObject({ kind: 'open', sinceMs: 4000, untilMs: 34_000, openings: 1, failures: 5 })
  expect(after([...Array.from({ length: 6 }, () => true), ...failures(5)]).kind).toBe('closed')
  expect(after([...Array.from({ length: 5 }, () => true), ...failures(5)]).kind).toBe('open')
})

test('one instance that fails again and again is its own trouble, not the node’s', () => {
  let breaker: Breaker = CLOSED
  for (let atMs = 0; atMs < 50_000; atMs += 1000) breaker = conclude(breaker, CONFIG, { id: idOf(1), ok: false, atMs })
  expect(breaker.kind).toBe('closed')
})

test('failures older than the window are forgotten', () => {
  expect(conclude(after(failures(4)), CONFIG, { id: idOf(9), ok: false, atMs: 63_500 }).kind).toBe('closed')
})

test('T32: half open: one at a time; three successes close it, one failure opens it for twice as long', () => {
  const open = after(failures(5))
  expect(slots(open, 4)).toBe(0)
  expect(elapse(open, CONFIG, 33_999)).toBe(open)
  const half = elapse(open, CONFIG, 34_000)
  expect(half.kind).toBe('half_open')
  expect(slots(half, 4)).toBe(1)
  expect(after([true, true], half, 35_000).kind).toBe('half_open')
  expect(after([true, true, true], half, 35_000)).toBe(CLOSED)
  const again = after([true, false], half, 35_000)
  expect(again).toMatchObject({ kind: 'open', sinceMs: 4000, untilMs: 36_000 + 60_000, openings: 2 })
  expect(slots(CLOSED, 4)).toBe(4)
})

test('T32: a pause doubles with each failing trial, up to the longest one', () => {
  let breaker = after(failures(5))
  const pausesMs: number[] = []
  for (let opening = 1; opening <= 6; opening += 1) {
    if (breaker.kind !== 'open') throw new Error(`it is ${breaker.kind}`)
    const { untilMs } = breaker
    breaker = conclude(breaker, CONFIG, { id: idOf(1), ok: false, atMs: untilMs })
    if (breaker.kind === 'open') pausesMs.push(breaker.untilMs - untilMs)
  }
  expect(pausesMs).toEqual([60_000, 120_000, 240_000, 300_000, 300_000, 300_000])
})

test('half open with nothing left to try closes after a quiet window', () => {
  const half = elapse(after(failures(5)), CONFIG, 34_000)
  expect(elapse(half, CONFIG, 93_999).kind).toBe('half_open')
  expect(elapse(half, CONFIG, 94_000)).toBe(CLOSED)
})

test('whatever happens: it never stays open beyond the longest pause, and opens only for a failure', () => {
  const outcome = fc.record({ id: fc.nat(20).map(idOf), ok: fc.boolean(), afterMs: fc.nat(120_000) })
  fc.assert(
    fc.property(fc.array(outcome, { maxLength: 200 }), (outcomes) => {
      let breaker: Breaker = CLOSED
      let nowMs = 0
      for (const { id, ok, afterMs } of outcomes) {
        nowMs += afterMs
        const before: Breaker = elapse(breaker, CONFIG, nowMs)
        breaker = conclude(breaker, CONFIG, { id, ok, atMs: nowMs })
        if (breaker.kind === 'open') {
          expect(breaker.untilMs - nowMs).toBeLessThanOrEqual(CONFIG.openMsMax)
          if (before.kind !== 'open') expect(ok).toBe(false)
          expect(elapse(breaker, CONFIG, breaker.untilMs).kind).toBe('half_open')
        }
      }
    }),
  )
})
