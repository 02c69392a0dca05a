// Every bound of the link and the relations between them.
import { assert } from '../../base/assert.ts'

export const LINK_LIMITS = {
  heartbeatMs: 5000,
  /** Heartbeats without a sign of life from control after which the connection is taken for dead: 15 s. */
  silentHeartbeatsMax: 3,
  /** From dialling to the welcome. */
  welcomeDeadlineMs: 10_000,
  reconnect: { baseMs: 250, factor: 2, maxMs: 10_000 },
  /** A connection that lasted this long was a good one: the next wait is the shortest again. */
  settledMs: 10_000,
  requestsMax: 64,
  /** A request is told to wait above this, and told to go on below the second. */
  waitAboveBytes: 2 ** 20,
  goOnBelowBytes: 2 ** 18,
  /** Observations are refused (and kept by the caller) above this. */
  observedBytesMax: 8 * 2 ** 20,
  /** A request that does not wait although told so is ended above this: its reader is gone or far too slow. */
  requestBytesMax: 64 * 2 ** 20,
  closeDeadlineMs: 2000,
} as const

assert(LINK_LIMITS.goOnBelowBytes < LINK_LIMITS.waitAboveBytes, 'a request told to wait has to be able to go on')
assert(LINK_LIMITS.waitAboveBytes < LINK_LIMITS.observedBytesMax, 'a slow log reader must not silence observations')
