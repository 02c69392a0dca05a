// Keeps the checks of living instances running and their standings in the entries. The prober measures, reconcile/health judges;
// this only carries results to the entry they belong to. A result of an older incarnation is dropped.
import type { Clock } from '../../base/clock.ts'
import type { Logger } from '../../base/log.ts'
import type { InstanceId } from '../../contracts/ids.ts'
import type { Meter } from '../../contracts/metrics.ts'
import type { CheckStanding } from '../../contracts/phase.ts'
import type { ReliabilityConfig } from '../../contracts/reliability.ts'
import type { InstanceSpec } from '../../contracts/spec.ts'
import { type Measured, plannedChecks, type Subject } from '../model/check.ts'
import type { InstanceRecord } from '../model/record.ts'
import { foldMeasured, type HealthState, newHealth, verdict } from '../reconcile/health.ts'
import { type Entry, isChecked, NO_VERDICT } from './entry.ts'

export interface HealthDeps {
  readonly clock: Clock
  readonly log: Logger
  readonly meter: Meter
  /** Health checks can be switched off, for all or for one, at any time; everything else goes on. */
  checking(record: InstanceRecord): boolean
  /** In force now; the checks under way keep what they began with. */
  readonly config: ReliabilityConfig['healthCheck']
  entry(id: InstanceId): Entry | undefined
  /** Begin or go on checking; a new incarnation or address begins anew. */
  watch(subject: Subject): void
  unwatch(id: InstanceId): void
  changed(entry: Entry): void
  nudge(id: InstanceId): void
  /** The runtime may have lost it: look, and plan. */
  lookAgain(id: InstanceId): void
}

export interface HealthKeeper {
  /** Called after each change of an entry: checks exactly the living ones. */
  follow(entry: Entry): void
  measured(measured: Measured): void
}

export function createHealthKeeper(deps: HealthDeps): HealthKeeper {
  const watched = new Map<InstanceId, { readonly key: string; health: HealthState }>()

  return {
    follow(entry) {
      const { record, sight } = entry
      const { id, spec } = record.desired
      if (!isChecked(record) || record.desired.want !== 'running' || !deps.checking(record)) {
        if (!watched.delete(id)) return
        deps.unwatch(id)
        const judged = entry.verdict.health !== 'unknown'
        entry.standings = []
        entry.verdict = NO_VERDICT
        // Switched off while it lives: what was concluded from its checks holds no more.
        if (judged && isChecked(record)) deps.nudge(id)
        return
      }
      const current = sight.kind === 'known' ? sight.objects.find((object) => object.incarnation === record.incarnation) : undefined
      if (!current) return
      const { intervalMs, timeoutMs, failureThreshold, recoveryThreshold } = deps.config
      const timing = [intervalMs, timeoutMs, failureThreshold, recoveryThreshold]
      const key = JSON.stringify([record.incarnation, current.addresses, timing])
      if (watched.get(id)?.key === key) return
      // A start is proven once: what a restarted agent finds verified may be ill, but it has started.
      const fresh = newHealth(plannedChecks(spec, deps.config), record.verified)
      watched.set(id, { key, health: fresh })
      entry.standings = fresh.standings
      entry.verdict = verdict(fresh)
      deps.watch({
        id,
        incarnation: record.incarnation,
        nonce: record.nonce,
        spec,
        addresses: current.addresses,
        startedAtMs: record.startedAtMs ?? deps.clock.wallMs(),
        proven: record.verified,
      })
    },
    measured(measured) {
      const { id, incarnation } = measured
      const entry = deps.entry(id)
      const watch = watched.get(id)
      if (!entry || !watch || entry.record.incarnation !== incarnation) return
      const { state, counted } = foldMeasured(watch.health, measured)
      watch.health = state
      tell(deps, entry, measured, state.standings[measured.index], counted)
      const next = verdict(state)
      const news =
        next.health !== entry.verdict.health ||
        next.reason !== entry.verdict.reason ||
        next.startFailed !== entry.verdict.startFailed ||
        flags(state.standings) !== flags(entry.standings)
      entry.standings = state.standings
      entry.verdict = next
      if (isGone(measured)) deps.lookAgain(id)
      if (!news) return
      deps.changed(entry)
      deps.nudge(id)
    },
  }
}

/** Engine evidence that an event got lost: do not wait for more of it. */
const isGone = ({ measurement }: Measured) =>
  measurement.kind === 'fail' && (measurement.reason === 'process_dead' || measurement.reason === 'process_mismatch')

/** What does not count (a start under way, a runtime that cannot be asked) is no failed check of the instance: not counted, not told. */
function tell(deps: HealthDeps, { record }: Entry, { measurement }: Measured, standing: CheckStanding | undefined, counted: boolean): void {
  const { id, name, spec } = record.desired
  const { runtime } = spec
  const ids = { vm_id: id, instance_id: id, name, incarnation: record.incarnation }
  const fields = { ...ids, check: standing?.name, duration_ms: Math.round(measurement.durationMs) }
  if (!counted) {
    deps.log.debug('vm health check did not count', { ...fields, error: measurement.detail })
    return
  }
  deps.meter.count('vm_health_checks_total', { runtime })
  deps.meter.observe('vm_health_check_duration_seconds', measurement.durationMs / 1000, { runtime })
  if (measurement.kind !== 'fail') return
  const { reason, detail } = measurement
  deps.meter.count('vm_health_check_failures_total', { runtime })
  deps.meter.count('vm_health_check_failures_by_reason_total', { runtime, reason })
  deps.log.warn('vm health check failed', { ...fields, failure_count: standing?.failuresInRow, reason, error: detail })
}

/** Checks that gate verification: until they pass, a start has not succeeded. */
export const isGated = (spec: InstanceSpec): boolean => spec.health.some((check) => check.kind === 'start' || check.kind === 'ready')

const flags = (standings: readonly CheckStanding[]) => standings.map((standing) => `${standing.passing}/${standing.failuresInRow}`).join()
