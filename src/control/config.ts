// Compiled configuration of the control plane: nothing optional, base units. The command line builds it from the file and the flags.

export const CONTROL_VERSION = '0.1.0'

export interface ControlConfig {
  readonly storeConnectionsMax: number
  /** How long each kind of record is kept: events, Idempotency-Keys with their answers, deleted instances with their evidence. */
  readonly retention: { readonly eventsMs: number; readonly keysMs: number; readonly deletedMs: number }
}

const DAY_MS = 86_400_000

export const CONTROL_DEFAULTS: ControlConfig = {
  storeConnectionsMax: 10,
  retention: { eventsMs: 30 * DAY_MS, keysMs: DAY_MS, deletedMs: 7 * DAY_MS },
}
