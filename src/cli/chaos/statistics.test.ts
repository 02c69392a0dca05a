import { expect, test } from 'vitest'
import { seededRandom } from '../../base/seeded-random.ts'
import { exponentialMs, meanInterval, rateAtLeast, spread, survival } from './statistics.ts'

const span = (ms: number, censored = false) => ({ ms, censored })

test('the one-sided 95 % bound is the exact one: 0 of 59 proves 95 %, 0 of 2995 proves 99.9 %, 1 of 93 and 5 of 208 prove 95 %', () => {
  expect(rateAtLeast(59, 59)).toBeGreaterThanOrEqual(0.95)
  expect(rateAtLeast(58, 58)).toBeLessThan(0.95)
  expect(rateAtLeast(2995, 2995)).toBeGreaterThanOrEqual(0.999)
  expect(rateAtLeast(2993, 2994)).toBeLessThan(0.999)
  expect(rateAtLeast(92, 93)).toBeGreaterThanOrEqual(0.95)
  expect(rateAtLeast(91, 92)).toBeLessThan(0.95)
  expect(rateAtLeast(203, 208)).toBeGreaterThanOrEqual(0.95)
  expect(rateAtLeast(0, 10)).toBe(0)
  expect(rateAtLeast(0, 0)).toBe(0)
})

test('without censoring the figures are the plain ones', () => {
  const spans = Array.from({ length: 100 }, (_, index) => span(index + 1))
  const found = spread(spans)
  expect(found).toMatchObject({ n: 100, censored: 0, p50: 50, p95: 95, max: 100 })
  expect(found?.mean).toBeCloseTo(50.5, 9)
})

test('what never ended is not dropped: it lengthens the mean and takes away the largest value', () => {
  const found = spread([span(10), span(20), span(1000, true)])
  expect(found).toMatchObject({ n: 3, censored: 1, p50: 20, p95: Number.POSITIVE_INFINITY, max: Number.POSITIVE_INFINITY })
  expect(found?.mean).toBeCloseTo((10 + 20 + 1000) / 3, 9)
  expect(spread([])).toBeNull()
})

test('one censored early counts as waiting until then and as unknown after (Kaplan–Meier by hand)', () => {
  const steps = survival([span(1), span(2, true), span(3), span(4)])
  expect(steps.map(({ ms }) => ms)).toEqual([1, 3, 4])
  expect(steps.map(({ waiting }) => Number(waiting.toFixed(6)))).toEqual([0.75, 0.375, 0])
})

test('arrivals have the mean asked for, no memory, and come again from the seed', () => {
  const draw = (seed: number) => {
    const random = seededRandom(seed)
    return Array.from({ length: 20_000 }, () => exponentialMs(random, 100))
  }
  const gaps = draw(7)
  const mean = gaps.reduce((total, gap) => total + gap, 0) / gaps.length
  expect(Math.abs(mean - 100)).toBeLessThan(3)
  expect(gaps.filter((gap) => gap > 100).length / gaps.length).toBeCloseTo(Math.exp(-1), 1)
  expect(draw(7).slice(0, 5)).toEqual(gaps.slice(0, 5))
  expect(draw(8).slice(0, 5)).not.toEqual(gaps.slice(0, 5))
})

test('the interval of the mean holds the mean', () => {
  const spans = Array.from({ length: 200 }, (_, index) => span(index % 20))
  const [low, high] = meanInterval(spans, seededRandom(1)) ?? [Number.NaN, Number.NaN]
  expect(low).toBeLessThan(9.5)
  expect(high).toBeGreaterThan(9.5)
  expect(high - low).toBeLessThan(3)
})
