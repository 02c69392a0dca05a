/** Exponential backoff: `baseMs * factor^(n-1)`, at most `maxMs`. */
export interface Backoff {
  readonly baseMs: number
  readonly factor: number
  readonly maxMs: number
}

/** Share of the delay that jitter may take away: the wait is uniform in [0.8 d, d], so `maxMs` is never exceeded. */
const JITTER = 0.2

/** The wait before attempt `failures + 1`, given the number of failures so far (0 gives 0) and a random fraction in [0, 1). */
export function backoffMs(backoff: Backoff, failures: number, fraction: number): number {
  if (failures <= 0) return 0
  // The exponent is capped before the power: 2^1024 is Infinity, and Infinity * 0 would be NaN.
  const power = backoff.factor ** Math.min(failures - 1, 64)
  const delayMs = Math.min(backoff.maxMs, backoff.baseMs * power)
  return Math.round(delayMs * (1 - JITTER * fraction))
}
