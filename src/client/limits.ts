import { assert } from '../base/assert.ts'

/** Bounds of the client; the deadlines are defaults that a caller may change. */
export const CLIENT_LIMITS = {
  /** One request, from sending to the end of its answer. */
  requestMs: 30_000,
  /** How long a call is repeated after transport errors and `store_unavailable`. */
  retryMs: 10_000,
  /** The same for a refused connection: nobody listens, so this only bridges a restart. */
  refusedRetryMs: 1000,
  retryBackoff: { baseMs: 100, factor: 2, maxMs: 2000 },
  /** The server sends a heartbeat every 15 s; three missed ones mean that the connection is dead. */
  eventsSilenceMs: 45_000,
  reconnectBackoff: { baseMs: 200, factor: 2, maxMs: 10_000 },
  /** One line of a stream, and one event. */
  lineBytesMax: 8 * 2 ** 20,
  answerBytesMax: 64 * 2 ** 20,
} as const

assert(CLIENT_LIMITS.refusedRetryMs <= CLIENT_LIMITS.retryMs, 'refusedRetryMs <= retryMs')
