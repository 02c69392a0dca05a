// Compiled configuration of the control plane: nothing optional, base units. The command line builds it from the file and the flags.
import { DEFAULT_CONFIG } from '../contracts/config.ts'
import type { GcConfig } from '../contracts/gc-config.ts'

export interface ControlConfig {
  readonly storeConnectionsMax: number
  /** How long each kind of record is kept: events, Idempotency-Keys with their answers, deleted instances with their evidence. */
  readonly gc: GcConfig
  readonly retention: { readonly eventsMs: number; readonly keysMs: number; readonly deletedMs: number }
}

export const CONTROL_DEFAULTS: ControlConfig = {
  storeConnectionsMax: DEFAULT_CONFIG.store.connectionsMax,
  retention: DEFAULT_CONFIG.store.retention,
  gc: DEFAULT_CONFIG.gc,
}
