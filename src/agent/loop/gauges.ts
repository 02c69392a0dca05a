// Gauges read from the map of instances at each scrape; never a label with an id.
import type { Clock } from '../../base/clock.ts'
import type { Meter } from '../../contracts/metrics.ts'
import type { Phase, PhaseKind } from '../../contracts/phase.ts'
import type { InstanceRecord } from '../model/record.ts'
import { type Entry, isChecked } from './entry.ts'
import type { Gate } from './gate.ts'
import { orphanReason } from './narrate.ts'

const ORPHANED: ReadonlySet<PhaseKind> = new Set(['recovering', 'crash_looping', 'quarantined', 'degraded'])

/** Since when it should run and does not, or null. A trial start out of a quarantine is no new absence: it ends with a start that proves itself. */
export function orphanedSinceMs(record: InstanceRecord): number | null {
  const { phase, episode, desired, verified, provisioned, failures } = record
  if (desired.want !== 'running') return null
  if (phase.kind === 'degraded') return episode?.startedAtMs ?? phase.sinceMs
  if (phase.kind === 'failed' && phase.reason === 'recovery_off') return phase.sinceMs
  const waits = ORPHANED.has(phase.kind)
  // Given up for good, having run: it is as lost as one that is still tried, and nobody but a person brings it back.
  const abandoned = phase.kind === 'failed' && phase.reason === 'permanent_error' && provisioned
  const tries = phase.kind !== 'failed' && !verified && (episode !== null || failures > 0)
  if (!waits && !tries && !abandoned) return null
  // The first end in a row was answered at once. Between attempts the end of the last one is counted already.
  const attempts = record.attempts.filter(({ outcome }) => outcome !== 'cancelled')
  const first = attempts.slice(-Math.max(1, waits ? failures - 1 : failures))[0]
  const inRow = failures > (waits ? 1 : 0) ? first?.startedAtMs : undefined
  return Math.min(inRow ?? phase.sinceMs, episode?.startedAtMs ?? phase.sinceMs)
}

const isBeingChecked = ({ record, modes }: Entry): boolean => isChecked(record) && modes?.checks.mode === 'on'

/** Its own breaker is open: it ended too often. */
const isBroken = ({ kind, reason }: Phase): boolean => kind === 'quarantined' && reason === 'crash_loop'

export function registerGauges(meter: Meter, entries: ReadonlyMap<unknown, Entry>, clock: Clock, gate: Gate): void {
  const all = () => [...entries.values()]
  const tally = (label: string, keys: readonly string[], words: readonly string[] = []) => {
    const counts = new Map<string, number>(words.map((word) => [word, 0]))
    for (const key of keys) counts.set(key, (counts.get(key) ?? 0) + 1)
    return [...counts].map(([key, value]) => ({ labels: { [label]: key }, value }))
  }
  meter.gauge('instances', () => {
    const counts = new Map<string, { labels: { runtime: string; state: string }; value: number }>()
    for (const { record } of all()) {
      const labels = { runtime: record.desired.spec.runtime, state: record.phase.kind }
      const key = `${labels.runtime} ${labels.state}`
      counts.set(key, { labels, value: (counts.get(key)?.value ?? 0) + 1 })
    }
    return [...counts.values()]
  })
  meter.gauge('reliability_healthy_vms_total', () => [
    { value: all().filter((entry) => entry.record.phase.kind === 'running' && entry.verdict.health !== 'unhealthy').length },
  ])
  meter.gauge('reliability_unhealthy_vms_total', () => [{ value: all().filter((entry) => orphanedSinceMs(entry.record) !== null).length }])
  meter.gauge('reliability_checked_vms_total', () => [{ value: all().filter(isBeingChecked).length }])
  meter.gauge('vm_orphans', () =>
    tally(
      'reason',
      all()
        .filter((entry) => orphanedSinceMs(entry.record) !== null)
        .map((entry) => orphanReason(entry.record.episode?.reason ?? entry.record.phase.reason)),
    ),
  )
  meter.gauge('vm_oldest_orphan_age_seconds', () => {
    const since = all()
      .map((entry) => orphanedSinceMs(entry.record))
      .filter((ms) => ms !== null)
    return [{ value: since.length === 0 ? 0 : Math.max(0, clock.wallMs() - Math.min(...since)) / 1000 }]
  })
  const byRuntime = (kind: PhaseKind) => () =>
    tally(
      'runtime',
      all()
        .filter((entry) => entry.record.phase.kind === kind)
        .map((entry) => entry.record.desired.spec.runtime),
    )
  meter.gauge('instance_crash_loops', byRuntime('crash_looping'))
  meter.gauge('instances_quarantined', byRuntime('quarantined'))
  meter.gauge('recoveries_running', () => [{ value: gate.starting }])
  meter.gauge('recoveries_queued', () => [{ value: gate.waiting }])
  meter.gauge('recovery_breaker_open', () => [
    { labels: { scope: 'node' }, value: gate.breakerOpen ? 1 : 0 },
    { labels: { scope: 'instance' }, value: all().filter(({ record: { phase } }) => isBroken(phase)).length },
  ])
}
