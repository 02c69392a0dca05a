// Every bound of the embedded server's life.
export const SERVER_LIMITS = {
  /** Includes replaying the log after a crash. */
  startDeadlineMs: 120_000,
  pollIntervalMs: 10,
  /** How often an adopted server is looked at; its end also shows at once as a broken connection. */
  adoptedPollMs: 500,
  /** It writes a checkpoint; usually some 100 ms. What it does not get done in time, it replays at the next start. */
  fastStopMs: 12_000,
  immediateStopMs: 4000,
  killedMs: 3000,
  /** Children of a killed postmaster notice by themselves; after this long they are killed. */
  orphansMs: 5000,
  saidLines: 20,
} as const

/** A stop takes no longer, whatever the server does. */
export const STOP_MS_MAX = SERVER_LIMITS.fastStopMs + SERVER_LIMITS.immediateStopMs + SERVER_LIMITS.killedMs
