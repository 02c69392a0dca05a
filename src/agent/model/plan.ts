// The words between the planner and the shells: what it is told (Facts), what it answers (Step).
import type { ErrorCode, Failure } from '../../contracts/errors.ts'
import type { InstanceId } from '../../contracts/ids.ts'
import type { Exit, HealthWord, Reason, Trigger } from '../../contracts/phase.ts'
import type { RecoveryMode } from '../../contracts/spec.ts'
import type { InstanceRecord } from './record.ts'

/** A runtime object as the planner needs it. */
export interface SeenObject {
  readonly incarnation: number
  readonly nonce: string
  readonly state: 'created' | 'running' | 'paused' | 'dead'
  readonly exit: Exit | null
  readonly matches: boolean
  readonly startedAtMs: number | null
  /** Host port of each of its ports, by name. */
  readonly ports?: Readonly<Record<string, number>>
}

/** `unknown`: the runtime did not answer, so nothing follows from it. `objects` empty: a healthy runtime says there are none. */
export type SeenFact = { readonly kind: 'unknown' } | { readonly kind: 'known'; readonly objects: readonly SeenObject[] }

export interface Verdict {
  readonly health: HealthWord
  /** Set when unhealthy: which evidence failed; null while unhealthy = only readiness did, and nothing is restarted for that. */
  readonly reason: 'health_check_failed' | 'socket_unreachable' | null
  readonly detail: string
  /** Start checks failed for good: the attempt is lost. */
  readonly startFailed: boolean
  /** The instance declares checks that must pass before it counts as verified. */
  readonly gated: boolean
}

/** Compiled recovery settings in force for this instance. */
export interface RecoveryPolicy {
  readonly mode: RecoveryMode
  /** Health checks are on. Without them nothing says that a degraded instance serves again, and nothing that it does not. */
  readonly checked: boolean
  readonly maxRetries: number
  readonly backoff: { readonly baseMs: number; readonly factor: number; readonly maxMs: number }
  readonly recoveryTimeoutMs: number
  /** An incarnation that ran this long clears the count of failures. */
  readonly stableAfterMs: number
  /** An attempt counts as a success after living this long, however soon its checks pass; without checks it is verified by that. */
  readonly verifyAfterMs: number
  /** How long a quarantine lasts before one trial start. */
  readonly cooldownMs: number
  /** Its own breaker: more ends than `endsMax` within `endsWindowMs` are a quarantine, however well it ran between them. */
  readonly endsMax: number
  readonly endsWindowMs: number
  readonly allowDataLoss: boolean
}

export type Outcome =
  | { readonly action: Action['kind']; readonly ok: true; readonly hostPorts?: readonly number[] }
  | { readonly action: Action['kind']; readonly ok: false; readonly failure: Failure }

/**
 * Whether an automatic recovery may begin now. `granted` says how long it had to wait, which its time budget does not count. `queued`: so
 * many others wait, so many are being started. `paused`: the node's breaker is open, because the recoveries of so many instances failed.
 */
export type Turn =
  | { readonly kind: 'granted'; readonly waitedMs: number }
  | { readonly kind: 'queued'; readonly waiting: number; readonly starting: number }
  | { readonly kind: 'paused'; readonly failures: number; readonly forMs: number }

export interface Facts {
  readonly nowMs: number
  readonly seen: SeenFact
  readonly verdict: Verdict
  readonly policy: RecoveryPolicy
  readonly turn: Turn
  /** The result of the action the previous step asked for; given once. */
  readonly outcome: Outcome | null
  /** Uniform in [0, 1), for jitter. */
  readonly fraction: number
  /** The nonce of the next incarnation, should one begin. */
  readonly freshNonce: string
  /** The node is being shut down: everything is wished stopped, the desired state stays as it is. */
  readonly shutdown: boolean
  /** Only this node knows of it and it is being collected: it counts as wished deleted, the desired state stays as it is. */
  readonly disowned?: boolean
}

export interface ObjectRef {
  readonly incarnation: number
  readonly nonce: string
}

export type Action =
  /** `vacant`: the runtime shows nothing of the instance that lives, so whoever listens on one of its ports is a stranger. */
  | { readonly kind: 'prepare'; readonly id: InstanceId; readonly vacant: boolean }
  | { readonly kind: 'start'; readonly id: InstanceId }
  | { readonly kind: 'stop'; readonly id: InstanceId; readonly objects: readonly ObjectRef[] }
  | { readonly kind: 'remove'; readonly id: InstanceId; readonly objects: readonly ObjectRef[] }
  | { readonly kind: 'forget'; readonly id: InstanceId }
  | { readonly kind: 'pause'; readonly id: InstanceId }
  | { readonly kind: 'resume'; readonly id: InstanceId }

export type EpisodeOutcome = 'success' | 'failure' | 'timeout' | 'cancelled' | 'self_recovered'

/** What is worth a log line or a count; the shell turns each into exactly one of both. */
export type Note =
  | {
      readonly kind: 'orphaned'
      readonly reason: Reason
      readonly lastSeenMs: number
      readonly maxRetries: number
      readonly recovering: boolean
      /** A living workload was ended because its checks failed and allow_data_loss permits that. */
      readonly dataLoss: boolean
    }
  /** A recovery that was off is on now, and takes up what had ended meanwhile. */
  | { readonly kind: 'taken_up'; readonly reason: Reason; readonly maxRetries: number }
  | {
      readonly kind: 'attempting'
      readonly attempt: number
      readonly reason: Reason
      readonly trigger: Trigger
      readonly by: string | null
    }
  | {
      readonly kind: 'attempt_failed'
      readonly attempt: number
      readonly reason: Reason
      readonly code: ErrorCode
      readonly detail: string
      readonly durationMs: number
    }
  | {
      readonly kind: 'episode_ended'
      readonly outcome: EpisodeOutcome
      readonly reason: Reason
      readonly attempts: number
      readonly totalMs: number
      readonly attemptMs: number
      readonly code: ErrorCode | null
      /** Cancelled because recovery was switched off. */
      readonly switchedOff?: true
    }
  /** `windowMs`: since the first of these ends. */
  | { readonly kind: 'crash_looping'; readonly failures: number; readonly windowMs: number; readonly detail: string }
  /** `tooOften`: its own breaker opened, because of how often it ended and not of attempts that failed. */
  | {
      readonly kind: 'quarantined'
      readonly failures: number
      readonly windowMs: number
      readonly detail: string
      readonly tooOften: boolean
    }
  /** A chosen host port was taken by somebody else, and another one was chosen. */
  | { readonly kind: 'port_changed'; readonly was: number; readonly port: number }
  /** An attempt led to a running incarnation. */
  | { readonly kind: 'applied'; readonly durationMs: number }
  /** Nothing of a deleted instance is left. */
  | { readonly kind: 'gone'; readonly durationMs: number }
  | { readonly kind: 'unhealthy'; readonly detail: string }
  | { readonly kind: 'healthy_again'; readonly downtimeMs: number }
  | { readonly kind: 'error'; readonly code: ErrorCode }

export interface Step {
  readonly record: InstanceRecord
  readonly action: Action | null
  /** Ask again at this time even if nothing happens; null = only when something happens. */
  readonly wakeAtMs: number | null
  /** A recovery is due and has to wait for its turn; null otherwise. */
  readonly waitsFor: Exclude<Turn, { kind: 'granted' }> | null
  readonly because: string
  readonly notes: readonly Note[]
}
