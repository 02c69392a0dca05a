// Every bound of the control plane in one place, and the relations between them.
import { assert } from '../base/assert.ts'
import { LINK_MESSAGE_BYTES_MAX } from '../contracts/agent-protocol.ts'
import { WINDOW_BYTES, WINDOW_BYTES_MIN } from '../contracts/stream-window.ts'
import { LOOPS_DEFAULTS } from './loops/deps.ts'
import { STOP_MS_MAX } from './postgres/limits.ts'
import { SESSION_LIVE_MS } from './store/session-fold.ts'

const MIB = 2 ** 20

export const LIMITS = {
  bodyBytesMax: MIB,
  /** Standard input of 1 MiB of control characters is six times that as JSON. */
  execBodyBytesMax: 8 * MIB,
  storeAnswerMs: 3000,
  tokenCacheMs: 5000,
  tokenCacheMax: 10_000,
  recheckCallerMs: 10_000,
  receiveMs: 120_000,
  drainMs: 4000,
  healthCheckMs: 2500,
  nodeCacheMs: 2000,
  eventHeartbeatMs: 15_000,
  eventPollMs: 2000,
  eventTailMax: 2000,
  eventStreamsMax: 1000,
  /** For events, which can be had again from the store. A reader of output may take its time. */
  slowReaderMs: 30_000,
  /** Of one logs or exec that waits here for its reader. */
  outputWindowBytes: WINDOW_BYTES,
  /** How soon TCP asks a quiet reader of output whether its machine is still there; a stopped process is no dead one. */
  outputKeepAliveMs: 30_000,
  streamHeadMs: 1000,
  statsMs: 10_000,
  /** Below what a client waits for an answer. */
  gcMs: 25_000,
  purgeMs: 2000,
  linkHelloMs: 10_000,
  linkPingMs: 5000,
  linkSilenceMs: 15_000,
  linkResyncMs: 30_000,
  linkHeartbeatWriteMs: 1000,
  linkPushDelayMs: 5,
  linkRetryMs: 500,
  observedBatchMax: 500,
  observedQueueMax: 20_000,
  /** Requests open to one node, and how many of them may be logs and exec: the rest is left for short ones. An agent takes fewer. */
  linkRequestsMax: 256,
  linkStreamsMax: 128,
  linkSessionsMax: 10_000,
  linkSendBufferBytesMax: LINK_MESSAGE_BYTES_MAX * 2,
  /** All of a graceful end, the database included. */
  closeMs: 25_000,
  startStoreMs: 30_000,
  startStoreRetryMs: 500,
} as const

assert(LIMITS.linkStreamsMax < LIMITS.linkRequestsMax, 'readers that stand still leave places for short requests')
// A missed pong must not end a session that the next one would have kept.
assert(LIMITS.linkSilenceMs >= 3 * LIMITS.linkPingMs, 'linkSilenceMs >= 3 * linkPingMs')
assert(LIMITS.linkHeartbeatWriteMs < LIMITS.linkSilenceMs, 'linkHeartbeatWriteMs < linkSilenceMs')
// A request under way gets its answer before the connection is cut.
assert(LIMITS.drainMs > LIMITS.storeAnswerMs, 'drainMs > storeAnswerMs')
assert(LIMITS.observedBatchMax <= LIMITS.observedQueueMax, 'observedBatchMax <= observedQueueMax')
// Beyond this a client whose request times out would meet our answer too late.
assert(LIMITS.storeAnswerMs <= 3000, 'storeAnswerMs <= 3000')
// A chunk that does not fit would stop its stream for ever.
assert(LIMITS.outputWindowBytes >= WINDOW_BYTES_MIN, 'outputWindowBytes >= WINDOW_BYTES_MIN')
// The API is drained, then the database is stopped, by force if need be: nothing of it may be left when the close has been given up.
assert(LIMITS.drainMs + STOP_MS_MAX < LIMITS.closeMs, 'drainMs + STOP_MS_MAX < closeMs')
// A node must not be given to another agent while we still hold a connection that its first one may be using.
assert(SESSION_LIVE_MS >= LIMITS.linkSilenceMs, 'SESSION_LIVE_MS >= linkSilenceMs')
// Or a session that lives looks silent between two of its heartbeats that are written down.
assert(SESSION_LIVE_MS > 2 * (LIMITS.linkPingMs + LIMITS.linkHeartbeatWriteMs), 'SESSION_LIVE_MS > 2 * (linkPingMs + linkHeartbeatWriteMs)')
// Instances are lost with their node only after its session has been closed.
assert(LOOPS_DEFAULTS.nodeSilentMs > SESSION_LIVE_MS, 'nodeSilentMs > SESSION_LIVE_MS')
