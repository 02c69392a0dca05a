// A driver makes one runtime do what the plan says. Small idempotent verbs; capabilities are data; everything that blocks takes
// a signal. A driver decides nothing: when to start, stop or retry is agent/reconcile's business. It keeps what it needs to find
// its objects again (files below `dir`, labels on engine objects), because the agent may be killed between any two instructions.
//
// For every verb: an aborted signal ends it soon with `cancelled` (a followed log ends well: stopping is how it ends), and what was
// half done is found by the next `list`. A target whose nonce is not that of the object is not there: `stop` and `remove` say ok and
// touch nothing, `probe`, `pause`, `resume`, `exec` and `stats` fail with `process_mismatch`. `conformance.ts` holds all drivers to it.
import type { Result } from '../../base/result.ts'
import type { Address, RuntimeStatus, Stats } from '../../contracts/agent-protocol.ts'
import type { Failure } from '../../contracts/errors.ts'
import type { InstanceId } from '../../contracts/ids.ts'
import type { CloudInitStatus, Exit } from '../../contracts/phase.ts'
import type { InstanceSpec, Runtime } from '../../contracts/spec.ts'

/** One incarnation of one instance: what every verb is about. */
export interface Target {
  readonly id: InstanceId
  readonly incarnation: number
  /** Proves ownership together with pid and start time; in the environment of a process, in a label of a container. */
  readonly nonce: string
}

export interface Wanted extends Target {
  readonly name: string
  readonly spec: InstanceSpec
  readonly labels: Readonly<Record<string, string>>
  /** Host ports resolved for this incarnation, in the order of `spec.ports`; never 0 for the process runtime, 0 = engine chooses. Where the spec says 0, another
   * number is what it had before: an engine that cannot have it any more chooses anew. */
  readonly hostPorts: readonly number[]
  /** Environment beyond `spec.env`: PORT, HOLDFAST_INSTANCE_ID and the like. */
  readonly platformEnv: Readonly<Record<string, string>>
}

/** A runtime object that carries our mark. `dead` without exit facts means its supervisor is gone too. */
export interface Seen extends Target {
  readonly state: 'created' | 'running' | 'paused' | 'dead'
  /** Process id on the node; null when there is none. Greater than 1 otherwise. */
  readonly pid: number | null
  /** Start time of that pid in clock ticks since boot, as text; pid and start time together name a process. */
  readonly startTime: string | null
  readonly exit: Exit | null
  readonly addresses: readonly Address[]
  readonly startedAtMs: number | null
  readonly notes: readonly string[]
  readonly cloudInit: CloudInitStatus | null
  /** False when what runs is not what this incarnation started (pid reused, container replaced, nonce differs). */
  readonly matches: boolean
}

/** Everything that carries this node's mark. Absence from it means something only when `complete`. */
export interface Listing {
  readonly complete: boolean
  readonly seen: readonly Seen[]
}

export interface StopOptions {
  readonly signal: InstanceSpec['stop']['signal']
  readonly graceMs: number
}

export interface LogOptions {
  readonly follow: boolean
  readonly tailLines: number | null
  readonly sinceMs: number | null
}
export interface LogChunk {
  readonly stream: 'stdout' | 'stderr'
  readonly data: Uint8Array
  readonly atMs: number | null
  /** Bytes of this stream that were dropped before they could be read, right before `data`; absent = none. */
  readonly lostBytes?: number
}
export interface LogsEnd {
  /** Bytes of what was asked for, or older, that were dropped before they could be read, over both streams; null = not known. */
  readonly lostBytes: number | null
}

export interface ExecOptions {
  readonly command: readonly string[]
  readonly stdin: Uint8Array | null
  readonly timeoutMs: number
  readonly user: string | null
}

/**
 * Resolves when its reader has room for more, or when the signal of the call is aborted; until then the caller reads nothing further of
 * that stream, so that a log file or the pipe of a command waits and not our memory. Never rejects. `data` may be used again afterwards.
 */
export type Emit = (chunk: LogChunk) => Promise<void> | void

/** "Look again" notes; a lost one costs latency, never correctness. */
export type DriverEvent =
  | {
      readonly kind: 'instance'
      readonly id: InstanceId
      readonly what: 'exit' | 'oom' | 'started' | 'paused' | 'resumed' | 'removed'
      readonly receivedAtMs: number
      /** The event itself proves the end of this object, so that nobody need ask a slow engine again. */
      readonly ended?: { readonly incarnation: number; readonly nonce: string; readonly exit: Exit }
    }
  /** The runtime went away or came back: everything must be listed again. */
  | { readonly kind: 'runtime'; readonly reachable: boolean }

/** An image that this driver fetched and the runtime still has. */
export interface FetchedImage {
  /** As it was asked for. */
  readonly image: string
  /** The digest by which the runtime knows it. */
  readonly imageId: string
  readonly bytes: number
  readonly pulledAtMs: number
  /** Somebody else may need it: a container of anybody has it, or it has a name that we did not ask for. */
  readonly used: boolean
}

/** The images of a runtime that has any. */
export interface Images {
  /** Only what this driver fetched itself, also in an earlier life. */
  fetched(signal: AbortSignal): Promise<Result<readonly FetchedImage[], Failure>>
  /** Looks again first, and leaves one that is used. On a missing one: ok. False: it is used. */
  remove(image: string, imageId: string, signal: AbortSignal): Promise<Result<boolean, Failure>>
}

export interface Driver {
  readonly runtime: Runtime
  readonly images: Images | null
  readonly can: { readonly exec: boolean; readonly pause: boolean; readonly stats: boolean }
  /** Is the runtime usable here, which version, what is missing. Never throws; bounded by the signal. */
  status(signal: AbortSignal): Promise<RuntimeStatus>
  /** Starts the event stream; returns after the first connection attempt. Again: no effect. */
  watch(onEvent: (event: DriverEvent) => void): Promise<void>
  /** All objects with our mark, every incarnation, known or not. A failure proves no absence. */
  list(signal: AbortSignal): Promise<Result<Listing, Failure>>
  /** All objects of one instance, every incarnation; empty only when the runtime answered so. */
  inspect(id: InstanceId, signal: AbortSignal): Promise<Result<readonly Seen[], Failure>>
  /** Fetch what the start needs (an image). May take long; idempotent. */
  prepare(want: Wanted, signal: AbortSignal): Promise<Result<void, Failure>>
  /** Create and start. Again for the same incarnation: ok. On failure nothing of this incarnation is left running. */
  start(want: Wanted, signal: AbortSignal): Promise<Result<Seen, Failure>>
  /** Signal, wait up to the grace, kill everything. Ok when nothing of it runs, also when it was not there. */
  stop(target: Target, options: StopOptions, signal: AbortSignal): Promise<Result<Exit | null, Failure>>
  /** Remove the runtime object, keep its logs as evidence. On a missing one: ok. Never touches what does not match the nonce. */
  remove(target: Target, signal: AbortSignal): Promise<Result<void, Failure>>
  pause(target: Target, signal: AbortSignal): Promise<Result<void, Failure>>
  resume(target: Target, signal: AbortSignal): Promise<Result<void, Failure>>
  /** Cheap evidence that it is alive and is ours: process state, engine inspect. */
  probe(target: Target, signal: AbortSignal): Promise<Result<void, Failure>>
  /** Streams chunks until the end (or until aborted, when following). Works for ended incarnations whose logs are kept; an empty nonce asks by number alone. */
  logs(target: Target, options: LogOptions, emit: Emit, signal: AbortSignal): Promise<Result<LogsEnd, Failure>>
  /**
   * The exit code; of what cannot be run 127 or 126, as `not-run.ts` says. `exec_failed` when it could not be tried, and, with the field `timed_out`, when it was killed for its timeout.
   * `emit` null: nobody wants the output, and it may cost less.
   */
  exec(target: Target, options: ExecOptions, emit: Emit | null, signal: AbortSignal): Promise<Result<number, Failure>>
  stats(target: Target, signal: AbortSignal): Promise<Result<Stats, Failure>>
  /** Bytes on disk that go when it and its output go; null = the runtime does not tell, or there is none. */
  weigh(target: Target, signal: AbortSignal): Promise<Result<number | null, Failure>>
  /** Delete everything kept for the instance, logs too; only for deleted instances without runtime objects. */
  forget(id: InstanceId): Promise<Result<void, Failure>>
  /** Close watchers and connections; workloads keep running. */
  [Symbol.asyncDispose](): Promise<void>
}
