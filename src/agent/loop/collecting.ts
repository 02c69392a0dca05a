// The collector of an agent and what is around it, wired to the runtimes, the disk and the link.
import type { Clock, Random } from '../../base/clock.ts'
import type { Logger } from '../../base/log.ts'
import { ok, type Result } from '../../base/result.ts'
import type { Failure } from '../../contracts/errors.ts'
import type { Collected } from '../../contracts/garbage.ts'
import type { GcConfig } from '../../contracts/gc-config.ts'
import type { Meter } from '../../contracts/metrics.ts'
import type { Runtime } from '../../contracts/spec.ts'
import { type CollectDeps, collect } from '../execute/collect.ts'
import { type EvidenceDeps, keepEvidence } from '../execute/evidence.ts'
import { type ExecuteDeps, guard } from '../execute/execute.ts'
import type { Residue } from '../execute/residue.ts'
import type { GarbageTarget, PulledImage } from '../model/garbage.ts'
import { leavesEvidence } from '../reconcile/garbage.ts'
import { CollectedOutbox } from './collected.ts'
import { Collector, type CollectorLimits } from './collector.ts'
import type { Instances } from './instances.ts'
import type { Scanner } from './scanner.ts'
import type { Survey } from './survey.ts'

interface Limits extends CollectorLimits {
  readonly evidenceDeadlineMs: number
  readonly collectedMax: number
  readonly collectedResendMs: number
  readonly weighDeadlineMs: number
}

export interface CollectingDeps {
  readonly clock: Clock
  readonly random: Random
  readonly log: Logger
  readonly meter: Meter
  readonly config: GcConfig
  readonly limits: Limits & CollectDeps['limits']
  readonly drivers: CollectDeps['drivers']
  readonly residue: Residue
  readonly instances: Instances
  readonly scanner: Scanner
  readonly survey: Survey
  send(items: readonly Collected[]): boolean
}

export interface Collecting {
  readonly collector: Collector
  readonly outbox: CollectedOutbox
  close(): Promise<void>
}

/** What is told before a deleted instance is forgotten; `purge` keeps nothing, and takes what is there. */
export function evidenceKeeper(deps: EvidenceDeps, evidenceMs: number): NonNullable<ExecuteDeps['beforeForget']> {
  return async (driver, record, signal) => {
    const { id, purge, want } = record.desired
    if (purge) {
      const dropped = await deps.files.drop(id)
      if (!dropped.ok)
        deps.log.warn('evidence not removed', { instance_id: id, error_code: dropped.error.code, error: dropped.error.detail })
      // One that only this node knows of is not wished away by anybody: what it said last is kept in any case.
    } else if (want !== 'deleted' || leavesEvidence(record, deps.clock.wallMs(), evidenceMs))
      await keepEvidence(deps, driver, record, signal)
  }
}

export function makeCollecting(deps: CollectingDeps, untold: readonly Collected[]): Collecting {
  const { clock, log, limits, drivers, residue, instances, scanner } = deps
  const outbox = new CollectedOutbox({ clock, log, limits, save: (items) => residue.untold.save(items), send: deps.send }, untold)
  const executing: CollectDeps = {
    drivers,
    limits,
    keptLogs: residue.keptLogs,
    evidence: { clock, log, files: residue.evidence, limits },
  }
  const collector = new Collector({
    ...deps,
    runtimes: [...drivers.keys()],
    entries: instances.entries,
    scan: (runtime) => scanner.scan(runtime),
    usable: (runtime) => scanner.statuses().some((status) => status.runtime === runtime && status.usable),
    keptLogs: () => residue.keptLogs.list(),
    evidence: () => residue.evidence.list(),
    images: (signal) => imagesOf(deps, signal),
    weigh: (target, signal) => weigh(deps, target, signal),
    collect: (target, stray, signal) => collect(executing, target, stray, signal),
    disown: (id) => instances.disown(id),
    lookAgain: (id) => instances.lookAgain(id),
    tell: (item) => outbox.add(item),
  })
  return {
    collector,
    outbox,
    async close() {
      await collector.close()
      await outbox.close()
    },
  }
}

async function imagesOf({ clock, drivers, limits }: CollectingDeps, signal: AbortSignal): Promise<Result<readonly PulledImage[], Failure>> {
  const found: PulledImage[] = []
  for (const [runtime, { images }] of drivers) {
    if (!images) continue
    const listed = await guard(clock, limits.imageDeadlineMs, 'runtime_unreachable', signal, (inner) => images.fetched(inner))
    if (!listed.ok) return listed
    found.push(...listed.value.map((image) => ({ runtime: runtime satisfies Runtime, ...image })))
  }
  return ok(found)
}

async function weigh({ clock, drivers, limits }: CollectingDeps, target: GarbageTarget, signal: AbortSignal): Promise<number | null> {
  if (target.what !== 'object') return null
  const driver = drivers.get(target.runtime)
  if (!driver) return null
  const weighed = await guard(clock, limits.weighDeadlineMs, 'runtime_unreachable', signal, (inner) => driver.weigh(target, inner))
  return weighed.ok ? weighed.value : null
}
