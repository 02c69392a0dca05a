/** Summary of a sample in milliseconds; percentiles by nearest rank. */
export interface Summary {
  readonly n: number
  readonly p50: number
  readonly p99: number
  readonly max: number
}

export function summarise(sample: readonly number[]): Summary {
  const sorted = [...sample].sort((a, b) => a - b)
  const at = (share: number) => sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)] ?? Number.NaN
  const round = (ms: number) => Math.round(ms * 100) / 100
  return { n: sorted.length, p50: round(at(0.5)), p99: round(at(0.99)), max: round(at(1)) }
}

export const median = (sample: readonly number[]): number => summarise(sample).p50
