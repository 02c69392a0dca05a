// The figures as a table for other programs (RFC 4180): one row per group of faults. Times are milliseconds, shares between 0 and 1; what was
// not measured, or not reached, is empty.
import type { Summary } from './summary.ts'

export interface CsvHead {
  readonly scenario: string
  readonly run: string
  readonly seed: number
}

const SPREADS = ['recovery', 'detect', 'queue', 'attempt', 'verify'] as const
const FIGURES = ['mean', 'p50', 'p95', 'max'] as const

export function summaryCsv({ scenario, run, seed }: CsvHead, summary: Summary): string {
  const head = [
    ...['scenario', 'run', 'seed', 'group', 'faults', 'recovered', 'rate', 'rate_at_least', 'censored'],
    ...SPREADS.flatMap((name) => FIGURES.map((figure) => `${name}_${figure}_ms`)),
    ...['why_asked', 'why_named', 'why_later_asked', 'why_later_named'],
    ...['instance_hours', 'orphaned_share', 'orphaned_share_at_one_per_hour', 'false_actions', 'silences'],
  ]
  const rows = summary.groups.map((one) => [
    ...[scenario, run, seed, one.group, one.faults, one.recovered, one.rate, one.rateAtLeast, one.recovery?.censored],
    ...SPREADS.flatMap((name) => FIGURES.map((figure) => one[name]?.[figure])),
    ...[one.whyAsked, one.whyNamed, one.whyLaterAsked, one.whyLaterNamed],
    ...[summary.instanceHours, summary.orphanedShare, summary.orphanedShareAtOnePerHour, summary.falseActions, summary.silences],
  ])
  return [head, ...rows].map((row) => `${row.map(cell).join(',')}\r\n`).join('')
}

function cell(value: string | number | undefined): string {
  if (value === undefined || (typeof value === 'number' && !Number.isFinite(value))) return ''
  const text = String(value)
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text
}
