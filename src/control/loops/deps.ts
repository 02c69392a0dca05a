// What the loops are given, and their settings.

import type { Backoff } from '../../base/backoff.ts'
import type { Clock, Random } from '../../base/clock.ts'
import type { Logger } from '../../base/log.ts'
import { DEFAULT_CONFIG } from '../../contracts/config.ts'
import type { GcConfig } from '../../contracts/gc-config.ts'
import type { Meter } from '../../contracts/metrics.ts'
import { SAFETY_DELAY_MS } from '../model/heal-time.ts'
import type { HealPolicy } from '../reconcile/heal.ts'
import type { StoreAccess } from '../store/access.ts'

export interface LoopsConfig {
  readonly heal: HealPolicy
  /**
   * How long after a node fell silent its workloads are known to have been stopped by the node itself. null: agents do not fence
   * themselves, so nothing is ever started elsewhere while a silent node may still run it.
   */
  readonly fencedAfterMs: number | null
  /** A node silent for this long is offline and its instances are lost. */
  readonly nodeSilentMs: number
  /** The longest time between two looks at everything, whatever notifications say. */
  readonly resyncMs: number
  readonly janitorMs: number
  readonly keysKeptMs: number
  readonly eventsKeptMs: number
  /** How long the record of a deleted instance stays as evidence. */
  readonly deletedKeptMs: number
  readonly gc: GcConfig
  /** The wait after a failed pass. */
  readonly retry: Backoff
}

const { eventsMs, keysMs, deletedMs } = DEFAULT_CONFIG.store.retention

export const LOOPS_DEFAULTS: LoopsConfig = {
  heal: {
    safetyDelayMs: SAFETY_DELAY_MS,
    attemptsMax: 5,
    backoff: { baseMs: 30_000, factor: 2, maxMs: 300_000 },
    stableAfterMs: 600_000,
    lookAgainMs: 30_000,
  },
  fencedAfterMs: null,
  nodeSilentMs: 20_000,
  resyncMs: 10_000,
  janitorMs: 600_000,
  keysKeptMs: keysMs,
  eventsKeptMs: eventsMs,
  deletedKeptMs: deletedMs,
  gc: DEFAULT_CONFIG.gc,
  retry: { baseMs: 250, factor: 2, maxMs: 10_000 },
}

export interface LoopsDeps {
  readonly store: StoreAccess
  readonly clock: Clock
  readonly random: Random
  readonly log: Logger
  readonly meter: Meter
  readonly config: LoopsConfig
}
