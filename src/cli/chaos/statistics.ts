// The arithmetic of the report, pure. Nothing that was observed is left out: what had not ended when the run did counts as "at least so
// long" (right-censored) in every figure.
import type { Random } from '../../base/clock.ts'

/** Milliseconds until the next arrival of a Poisson process: without memory, so in step with nobody's scan. */
export const exponentialMs = (random: Random, meanMs: number): number => -Math.log(1 - random.fraction()) * meanMs

/** How long something took; `censored`: it had not ended by then, so it takes at least so long. */
export interface Span {
  readonly ms: number
  readonly censored: boolean
}

export interface Spread {
  readonly n: number
  readonly censored: number
  /** Restricted to the longest observed time, which is said where one is censored. */
  readonly mean: number
  /** Infinity: so many are censored that this share never came. */
  readonly p50: number
  readonly p95: number
  readonly max: number
}

interface Step {
  readonly ms: number
  /** Share still waiting right after `ms`. */
  readonly waiting: number
}

/** Kaplan–Meier estimate of the share still waiting. */
export function survival(spans: readonly Span[]): readonly Step[] {
  const sorted = [...spans].sort((a, b) => a.ms - b.ms || Number(a.censored) - Number(b.censored))
  const steps: Step[] = []
  let waiting = 1
  sorted.forEach((span, index) => {
    if (span.censored) return
    waiting *= 1 - 1 / (sorted.length - index)
    steps.push({ ms: span.ms, waiting })
  })
  return steps
}

/** Area under the survival curve up to the longest span: the restricted mean. */
function restrictedMean(spans: readonly Span[]): number {
  const horizonMs = Math.max(...spans.map(({ ms }) => ms))
  let area = 0
  let atMs = 0
  let waiting = 1
  for (const step of survival(spans)) {
    area += waiting * (step.ms - atMs)
    atMs = step.ms
    waiting = step.waiting
  }
  return area + waiting * (horizonMs - atMs)
}

export function spread(spans: readonly Span[]): Spread | null {
  if (spans.length === 0) return null
  const steps = survival(spans)
  // A hair of slack: the product of many factors is not exactly the fraction it stands for.
  const at = (share: number) => steps.find(({ waiting }) => waiting <= 1 - share + 1e-9)?.ms ?? Number.POSITIVE_INFINITY
  return {
    n: spans.length,
    censored: spans.filter(({ censored }) => censored).length,
    mean: restrictedMean(spans),
    p50: at(0.5),
    p95: at(0.95),
    max: at(1),
  }
}

/** A 95 % interval of the restricted mean, by resampling. */
export function meanInterval(spans: readonly Span[], random: Random, resamples = 400): readonly [number, number] | null {
  if (spans.length < 2) return null
  const means = Array.from({ length: resamples }, () =>
    restrictedMean(spans.map((span) => spans[Math.floor(random.fraction() * spans.length)] ?? span)),
  ).sort((a, b) => a - b)
  const at = (share: number) => means[Math.min(means.length - 1, Math.floor(share * means.length))] ?? Number.NaN
  return [at(0.025), at(0.975)]
}

/** The probability of at most `failures` among `trials` when each fails with `chance`. */
function atMost(failures: number, trials: number, chance: number): number {
  let term = trials * Math.log1p(-chance)
  let sum = Math.exp(term)
  for (let k = 1; k <= failures; k += 1) {
    term += Math.log((trials - k + 1) / k) + Math.log(chance) - Math.log1p(-chance)
    sum += Math.exp(term)
  }
  return sum
}

/** The exact one-sided lower bound (Clopper–Pearson) of a rate: with this confidence the true rate is at least so high. */
export function rateAtLeast(successes: number, trials: number, confidence = 0.95): number {
  if (trials === 0 || successes === 0) return 0
  const failures = trials - successes
  const doubt = 1 - confidence
  if (failures === 0) return doubt ** (1 / trials)
  let low = 0
  let high = 1
  for (let step = 0; step < 60; step += 1) {
    const middle = (low + high) / 2
    if (atMost(failures, trials, middle) > doubt) low = middle
    else high = middle
  }
  return 1 - high
}
