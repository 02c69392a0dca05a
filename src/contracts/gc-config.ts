// The `[gc]` section: how often garbage is looked for, how old it must be, and how long evidence stays.
import { z } from 'zod'
import { Duration } from './units.ts'

/** Compiled: nothing optional, milliseconds. */
export interface GcConfig {
  /** False = nothing is collected by itself; by hand it still is. */
  readonly enabled: boolean
  readonly intervalMs: number
  /** How long something must have been garbage without a break. */
  readonly graceMs: number
  /** How long an instance that failed and was given up stays. */
  readonly failedAfterMs: number
  /** How long the last output of what failed stays when nothing else is left of it. */
  readonly evidenceMs: number
  readonly perCycleMax: number
}

export const GcSection = z
  .strictObject({
    enabled: z.boolean().default(true),
    interval: Duration.prefault('5m'),
    grace: Duration.prefault('10m'),
    failed_after: Duration.prefault('168h'),
    evidence: Duration.prefault('168h'),
    max_per_cycle: z.number().int().min(1).max(1000).default(20),
  })
  .transform(
    (given): GcConfig => ({
      enabled: given.enabled,
      intervalMs: given.interval,
      graceMs: given.grace,
      failedAfterMs: given.failed_after,
      evidenceMs: given.evidence,
      perCycleMax: given.max_per_cycle,
    }),
  )
  .prefault({})

export const DEFAULT_GC: GcConfig = GcSection.parse({})
