// Keeps the checks of living instances running and their standings in the entries. The prober measures, reconcile/health folds;
// this only carries results to the entry they belong to. A result of an older incarnation is dropped.

import type { Clock } from '../../base/clock.ts'
import type { Logger } from '../../base/log.ts'
import type { Address } from '../../contracts/agent-protocol.ts'
import type { InstanceId } from '../../contracts/ids.ts'
import type { Meter } from '../../contracts/metrics.ts'
import type { CheckStanding } from '../../contracts/phase.ts'
import type { InstanceSpec } from '../../contracts/spec.ts'
import type { Verdict } from '../model/plan.ts'
import { type Entry, isChecked, NO_VERDICT } from './entry.ts'

/** One measurement, already folded into the standings of its incarnation. */
export interface HealthUpdate {
  readonly id: InstanceId
  readonly incarnation: number
  readonly standings: readonly CheckStanding[]
  readonly verdict: Verdict
  readonly result: {
    readonly name: string
    readonly ok: boolean
    readonly detail: string
    readonly reason: string
    readonly durationMs: number
    readonly failuresInRow: number
  }
}

export interface Subject {
  readonly id: InstanceId
  readonly incarnation: number
  readonly nonce: string
  readonly spec: InstanceSpec
  readonly addresses: readonly Address[]
  readonly startedAtMs: number
}

export interface HealthDeps {
  readonly clock: Clock
  readonly log: Logger
  readonly meter: Meter
  /** Health checks can be switched off for the whole node; everything else goes on. */
  readonly enabled: boolean
  entry(id: InstanceId): Entry | undefined
  /** Begin or go on checking; a new incarnation or address begins anew. */
  watch(subject: Subject): void
  unwatch(id: InstanceId): void
  changed(entry: Entry): void
  nudge(id: InstanceId): void
}

export interface HealthKeeper {
  /** Called after each change of an entry: checks exactly the living ones. */
  follow(entry: Entry): void
  update(update: HealthUpdate): void
}

export function createHealthKeeper(deps: HealthDeps): HealthKeeper {
  const watched = new Map<InstanceId, string>()

  return {
    follow(entry) {
      const { record, sight } = entry
      const { id, spec } = record.desired
      if (!deps.enabled) return
      if (!isChecked(record) || record.desired.want !== 'running') {
        if (!watched.delete(id)) return
        deps.unwatch(id)
        entry.standings = []
        entry.verdict = NO_VERDICT
        return
      }
      const current = sight.kind === 'known' ? sight.objects.find((object) => object.incarnation === record.incarnation) : undefined
      if (!current) return
      const key = JSON.stringify([record.incarnation, current.addresses])
      if (watched.get(id) === key) return
      watched.set(id, key)
      entry.standings = []
      entry.verdict = NO_VERDICT
      deps.watch({
        id,
        incarnation: record.incarnation,
        nonce: record.nonce,
        spec,
        addresses: current.addresses,
        startedAtMs: record.startedAtMs ?? deps.clock.wallMs(),
      })
    },
    update({ id, incarnation, standings, verdict, result }) {
      const entry = deps.entry(id)
      if (!entry || entry.record.incarnation !== incarnation || !watched.has(id)) return
      const { runtime } = entry.record.desired.spec
      deps.meter.count('vm_health_checks_total', { runtime })
      deps.meter.observe('vm_health_check_duration_seconds', result.durationMs / 1000, { runtime })
      if (!result.ok) {
        deps.meter.count('vm_health_check_failures_total', { runtime })
        deps.meter.count('vm_health_check_failures_by_reason_total', { runtime, reason: result.reason })
        deps.log.warn('vm health check failed', {
          vm_id: id,
          instance_id: id,
          check: result.name,
          failure_count: result.failuresInRow,
          reason: result.reason,
          error: result.detail,
          duration_ms: Math.round(result.durationMs),
        })
      }
      const news =
        verdict.health !== entry.verdict.health ||
        verdict.startFailed !== entry.verdict.startFailed ||
        flags(standings) !== flags(entry.standings)
      entry.standings = standings
      entry.verdict = verdict
      if (!news) return
      deps.changed(entry)
      deps.nudge(id)
    },
  }
}

/** Checks that gate verification: until they pass, a start has not succeeded. */
export const isGated = (spec: InstanceSpec): boolean => spec.health.some((check) => check.kind === 'start' || check.kind === 'ready')

const flags = (standings: readonly CheckStanding[]) => standings.map((standing) => `${standing.passing}/${standing.failuresInRow}`).join()
