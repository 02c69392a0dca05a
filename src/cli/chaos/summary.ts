// From the ledger to the table. Pure.
import type { Random } from '../../base/clock.ts'
import { counted, type Fault, type Unexplained } from './ledger.ts'
import { meanInterval, rateAtLeast, type Span, type Spread, spread } from './statistics.ts'
import type { Counters, Steps } from './testimony.ts'

export interface GroupSummary {
  readonly group: string
  readonly faults: number
  readonly recovered: number
  readonly rate: number
  /** With 95 % confidence the rate is at least so high. */
  readonly rateAtLeast: number
  readonly recovery: Spread | null
  readonly recoveryMeanInterval: readonly [number, number] | null
  readonly detect: Spread | null
  readonly queue: Spread | null
  readonly attempt: Spread | null
  readonly verify: Spread | null
  readonly whyAsked: number
  readonly whyNamed: number
  /** Two seconds after the fault; a moment after it the news may be under way. */
  readonly whyLaterAsked: number
  readonly whyLaterNamed: number
}

export interface Summary {
  readonly groups: readonly GroupSummary[]
  readonly instanceHours: number
  readonly faultsPerInstanceHour: number
  /** Share of instance time in which a fault had it down. */
  readonly orphanedShare: number
  /** The same if each instance had one such fault per hour, from the restricted mean. */
  readonly orphanedShareAtOnePerHour: number
  /** Lives that ended though nobody had done anything to them, and lives that were to be left alone and were not. */
  readonly falseActions: number
  /** Silences without a new life: a busy machine. */
  readonly silences: number
}

/** Holdfast's own counts beside the oracle's. */
export interface Agreement {
  /** Faults that make an orphan, and those of them that were recovered. */
  readonly oracle: Counters
  readonly metrics: Counters | null
  readonly log: (Counters & { readonly falseOrphans: number }) | null
}

export interface Told {
  readonly faults: readonly Fault[]
  readonly unexplained: readonly Unexplained[]
  readonly steps: ReadonlyMap<number, Steps>
  readonly instances: number
  readonly watchedMs: number
  readonly random: Random
}

export function summarise({ faults, unexplained, steps, instances, watchedMs, random }: Told): Summary {
  const judged = counted(faults)
  const groups = [...Map.groupBy(judged, ({ group }) => group)].map(([group, own]) => groupOf(group, own, steps, random))
  const spans = judged
    .filter(({ expects }) => expects === 'recovery')
    .map((fault): Span => ({ ms: fault.downMs ?? fault.recoveredMs ?? fault.watchedMs, censored: fault.recoveredMs === null }))
  const downMs = spans.reduce((total, { ms }) => total + ms, 0)
  const mean = spread(spans)?.mean ?? 0
  const touched = judged.filter(
    ({ expects, lifeAfter, lifeBefore }) =>
      lifeAfter !== null && (expects === 'rest' || (expects === 'patience' && lifeAfter !== lifeBefore)),
  )
  const instanceMs = instances * watchedMs
  return {
    groups,
    instanceHours: instanceMs / 3_600_000,
    faultsPerInstanceHour: instanceMs > 0 ? (spans.length * 3_600_000) / instanceMs : 0,
    orphanedShare: instanceMs > 0 ? downMs / instanceMs : 0,
    orphanedShareAtOnePerHour: mean / 3_600_000,
    falseActions: unexplained.filter(({ killed }) => killed).length + touched.length,
    silences: unexplained.filter(({ killed }) => !killed).length,
  }
}

function recovered({ expects, recoveredMs, lifeAfter, lifeBefore }: Fault): boolean {
  if (recoveredMs === null) return false
  if (expects === 'patience') return lifeAfter === lifeBefore
  return expects !== 'rest' || lifeAfter === null
}

const spanOf = (fault: Fault): Span => ({ ms: fault.recoveredMs ?? fault.watchedMs, censored: fault.recoveredMs === null })

function groupOf(group: string, faults: readonly Fault[], steps: ReadonlyMap<number, Steps>, random: Random): GroupSummary {
  const well = faults.filter(recovered).length
  const spans = faults.map(spanOf)
  const split = (pick: (steps: Steps) => number | null) =>
    spread(
      faults.flatMap(({ number }) => {
        const own = steps.get(number)
        const ms = own ? pick(own) : null
        return ms === null ? [] : [{ ms, censored: false }]
      }),
    )
  const asked = faults.filter(({ whyNamesCause }) => whyNamesCause !== null)
  const askedLater = faults.filter(({ whyLaterNamesCause }) => whyLaterNamesCause !== null)
  return {
    group,
    faults: faults.length,
    recovered: well,
    rate: well / faults.length,
    rateAtLeast: rateAtLeast(well, faults.length),
    recovery: spread(spans),
    recoveryMeanInterval: meanInterval(spans, random),
    detect: split(({ detectMs }) => detectMs),
    queue: split(({ queueMs }) => queueMs),
    attempt: split(({ attemptMs }) => attemptMs),
    verify: split(({ verifyMs }) => verifyMs),
    whyAsked: asked.length,
    whyNamed: asked.filter(({ whyNamesCause }) => whyNamesCause).length,
    whyLaterAsked: askedLater.length,
    whyLaterNamed: askedLater.filter(({ whyLaterNamesCause }) => whyLaterNamesCause).length,
  }
}

const ms = (value: number) => (Number.isFinite(value) ? value.toFixed(value < 100 ? 1 : 0) : 'not reached')
const spreadText = (one: Spread | null) =>
  one === null
    ? 'not measured'
    : `mean ${ms(one.mean)}  p50 ${ms(one.p50)}  p95 ${ms(one.p95)}  max ${ms(one.max)}  (n ${one.n}, censored ${one.censored})`
const percent = (share: number, digits = 2) => `${(100 * share).toFixed(digits)} %`

/** The table for people; times in milliseconds. */
export function summaryText(summary: Summary): string {
  const lines = summary.groups.flatMap((one) => [
    `${one.group}: ${one.recovered} of ${one.faults} recovered, ${percent(one.rate)}, at least ${percent(one.rateAtLeast)} (one-sided 95 %)`,
    `  recovery  ${spreadText(one.recovery)}${one.recoveryMeanInterval ? `, 95 % of the mean ${one.recoveryMeanInterval.map(ms).join('..')}` : ''}`,
    `  detect    ${spreadText(one.detect)}`,
    `  queue     ${spreadText(one.queue)}`,
    `  attempt   ${spreadText(one.attempt)}`,
    `  verify    ${spreadText(one.verify)}`,
    `  why names the cause: ${one.whyNamed} of ${one.whyAsked}${one.whyLaterAsked > 0 ? ` after 0.5 s, ${one.whyLaterNamed} of ${one.whyLaterAsked} after 2 s` : ''}`,
  ])
  return [
    ...lines,
    `instance hours ${summary.instanceHours.toFixed(3)}, faults per instance hour ${summary.faultsPerInstanceHour.toFixed(2)}`,
    `time orphaned ${percent(summary.orphanedShare, 4)}; at one fault per instance hour ${percent(summary.orphanedShareAtOnePerHour, 5)}`,
    `false destructive actions ${summary.falseActions}; silences without a new life ${summary.silences}`,
  ].join('\n')
}

export function agreementText({ oracle, metrics, log }: Agreement): string {
  const pair = (counters: Counters | null) =>
    counters === null ? 'not read' : `${counters.orphaned} orphaned, ${counters.successes} recovered`
  const odd = log === null ? '' : `; called an orphan without a fault: ${log.falseOrphans}`
  return `oracle: ${pair(oracle)}; metrics: ${pair(metrics)}; log lines: ${pair(log)}${odd}`
}
