import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { ManualClock } from '../../../tests/support/manual-clock.ts'
import { createTimeline } from './timeline.ts'

describe('the timeline', () => {
  test('property: everything comes once, when due, in order, on one timer', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(fc.nat(500), { maxLength: 60 }), async (dues) => {
        const clock = new ManualClock()
        const came: { dueMs: number; atMs: number }[] = []
        const timeline = createTimeline<number>(clock, (dueMs) => came.push({ dueMs, atMs: clock.elapsedMs() }))
        for (const dueMs of dues) {
          timeline.add(dueMs, dueMs)
          expect(clock.timers).toBe(1)
        }
        await clock.advance(600)
        expect(came.map(({ dueMs }) => dueMs)).toEqual(dues.toSorted((a, b) => a - b))
        for (const { dueMs, atMs } of came) expect(Math.abs(atMs - dueMs)).toBeLessThanOrEqual(1)
        expect(clock.timers).toBe(0)
      }),
      { numRuns: 30 },
    )
  })

  test('what is added while something is due comes in its turn', async () => {
    const clock = new ManualClock()
    const came: number[] = []
    const timeline = createTimeline<number>(clock, (n) => {
      came.push(n)
      if (n < 3) timeline.add(n + 1, clock.elapsedMs() + 10)
    })
    timeline.add(1, 0)
    await clock.advance(100)
    expect(came).toEqual([1, 2, 3])
  })

  test('closing forgets all and leaves no timer', async () => {
    const clock = new ManualClock()
    const came: number[] = []
    const timeline = createTimeline<number>(clock, (n) => came.push(n))
    timeline.add(1, 5)
    timeline.close()
    timeline.add(2, 5)
    await clock.advance(10)
    expect([came, clock.timers, timeline.size]).toEqual([[], 0, 0])
  })
})
