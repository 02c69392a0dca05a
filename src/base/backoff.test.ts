import fc from 'fast-check'
import { expect, test } from 'vitest'
import { backoffMs } from './backoff.ts'

const FRACTION = fc.double({ min: 0, max: 0.999_999, noNaN: true })

test('T21: whatever the factor and the number of failures, the wait is a whole number from 0 to the longest one', () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 2 ** 40 }),
      fc.oneof(fc.constantFrom(0, 0.5, 1, 2, 10), fc.double({ min: 0, max: 1e6, noNaN: true })),
      fc.integer({ min: 1, max: 2 ** 40 }),
      fc.oneof(fc.integer({ min: 0, max: 100 }), fc.integer({ min: 0, max: Number.MAX_SAFE_INTEGER })),
      FRACTION,
      (baseMs, factor, maxMs, failures, fraction) => {
        const waitMs = backoffMs({ baseMs, factor, maxMs }, failures, fraction)
        expect(Number.isInteger(waitMs)).toBe(true)
        expect(waitMs).toBeGreaterThanOrEqual(0)
        expect(waitMs).toBeLessThanOrEqual(maxMs)
      },
    ),
  )
})

test('T21: with a factor of one or more no wait is shorter than the one before, and jitter takes at most a fifth', () => {
  fc.assert(
    fc.property(fc.double({ min: 1, max: 10, noNaN: true }), fc.integer({ min: 1, max: 100 }), FRACTION, (factor, failures, fraction) => {
      const backoff = { baseMs: 30_000, factor, maxMs: 300_000 }
      const waitMs = backoffMs(backoff, failures, 0)
      expect(backoffMs(backoff, failures + 1, 0)).toBeGreaterThanOrEqual(waitMs)
      expect(backoffMs(backoff, failures, fraction)).toBeGreaterThanOrEqual(Math.floor(waitMs * 0.8))
    }),
  )
})

test('T21: the waits of the defaults', () => {
  const waits = [0, 1, 2, 3, 4, 5, 6, 30, 100].map((failures) => backoffMs({ baseMs: 30_000, factor: 2, maxMs: 300_000 }, failures, 0))
  expect(waits).toEqual([0, 30_000, 60_000, 120_000, 240_000, 300_000, 300_000, 300_000, 300_000])
})
