// What the API is made from. Everything it needs is here; nothing in this folder looks anywhere else.
import type { Clock, Random } from '../../base/clock.ts'
import type { Logger } from '../../base/log.ts'
import type { GcConfig } from '../../contracts/gc-config.ts'
import type { OrgId } from '../../contracts/ids.ts'
import type { Meter } from '../../contracts/metrics.ts'
import type { HealthView } from '../../contracts/views.ts'
import type { StoreAccess } from '../store/access.ts'
import type { Store } from '../store/store.ts'

export type Check = HealthView['checks'][string]

export interface ApiLimits {
  readonly bodyBytesMax: number
  readonly execBodyBytesMax: number
  /** A store that has not answered by then counts as away. */
  readonly storeAnswerMs: number
  readonly tokenCacheMs: number
  readonly tokenCacheMax: number
  /** How often the token of an open stream or agent session is looked at again. */
  readonly recheckCallerMs: number
  /** From the first byte of a request to its last. */
  readonly receiveMs: number
  /** How long a closing server waits for requests under way. */
  readonly drainMs: number
  readonly healthCheckMs: number
  readonly nodeCacheMs: number
  /** Event stream: heartbeat comments, how often the store is asked without a notification, and what is kept for readers. */
  readonly eventHeartbeatMs: number
  readonly eventPollMs: number
  readonly eventTailMax: number
  readonly eventStreamsMax: number
  /** A reader of events that takes nothing for this long is dropped. */
  readonly slowReaderMs: number
  /** Output of one logs or exec request that its reader has not taken yet. */
  readonly outputWindowBytes: number
  readonly outputKeepAliveMs: number
  /** Without output, the headers of a stream are sent after this long. */
  readonly streamHeadMs: number
  readonly statsMs: number
  /** An agent that is asked what is garbage lists every runtime first. */
  readonly gcMs: number
  /** An agent that is asked to remove the evidence of one instance; within the time of a change. */
  readonly purgeMs: number
  readonly linkHelloMs: number
  readonly linkPingMs: number
  readonly linkSilenceMs: number
  readonly linkResyncMs: number
  readonly linkHeartbeatWriteMs: number
  readonly linkPushDelayMs: number
  readonly linkRetryMs: number
  readonly observedBatchMax: number
  readonly observedQueueMax: number
  readonly linkRequestsMax: number
  readonly linkStreamsMax: number
  readonly linkSessionsMax: number
  readonly linkSendBufferBytesMax: number
}

/** What the agents' link and the verbs of people are made from: they run on any store. */
export interface CoreDeps {
  readonly store: StoreAccess
  readonly clock: Clock
  readonly random: Random
  readonly log: Logger
  readonly limits: ApiLimits
  /** Where a platform-wide caller's new objects go. */
  readonly defaultOrg: OrgId
}

export interface ApiDeps extends CoreDeps {
  readonly store: Store
  readonly gc: GcConfig
  readonly meter: Meter
  readonly version: string
  /** Prometheus text of this process. */
  readonly renderMetrics: () => Promise<string>
  /** Subsystems beside the store and the agents, by name. Never throws. */
  readonly checks: Readonly<Record<string, () => Promise<Check>>>
}
