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
  /** Logs and exec under way; a reader that stands still keeps its place. */
  streamsMax: 64,
  /** Other requests under way; streams take none of these places. */
  shortRequestsMax: 64,
  /** Chunks of output get their turn while less than this is buffered, so that little is ahead of a heartbeat or an observation. */
  chunksBelowBytes: 2 ** 18,
  /** Buffered bytes that count as a backlog, in which a ping may take its time. */
  backlogAboveBytes: 2 ** 16,
  /** Observations are refused (and kept by the caller) above this. */
  observedBytesMax: 8 * 2 ** 20,
  closeDeadlineMs: 2000,
} as const

assert(LINK_LIMITS.backlogAboveBytes < LINK_LIMITS.chunksBelowBytes, 'output that fills the connection is a backlog')
assert(LINK_LIMITS.chunksBelowBytes < LINK_LIMITS.observedBytesMax, 'output must not silence observations')
