// The words between what was surveyed, the choice of what is garbage, and its collection.

import type { GarbageKind, GarbageReason } from '../../contracts/garbage.ts'
import type { GcConfig } from '../../contracts/gc-config.ts'
import type { InstanceId } from '../../contracts/ids.ts'
import type { PhaseKind } from '../../contracts/phase.ts'
import type { Runtime } from '../../contracts/spec.ts'

/** A runtime object as the choice needs it. */
export interface GarbageObject {
  readonly id: InstanceId
  readonly incarnation: number
  readonly nonce: string
  readonly alive: boolean
  /** Proven to be ours: the mark with node and state, and what runs is what was started. */
  readonly matches: boolean
  /** When it ended by the wall clock, or else began; null = nobody knows. */
  readonly endedAtMs: number | null
}

/** The newest listing of one runtime. */
export interface RuntimeView {
  readonly runtime: Runtime
  /** It answered, and its listing misses nothing. */
  readonly trusted: boolean
  /** Changes with each outage, failed or partial listing: what was seen before says nothing any more. */
  readonly series: number
  readonly objects: readonly GarbageObject[]
}

/** An instance this agent has. */
export interface KnownInstance {
  readonly id: InstanceId
  readonly runtime: Runtime
  readonly incarnation: number
  readonly phase: PhaseKind
  /** Something is being done to it, or was since the listing: nothing is concluded about its objects. */
  readonly busy: boolean
  /** The image it would start from. */
  readonly image: string | null
}

/** Output of an incarnation that is kept on disk. */
export interface KeptLogs {
  readonly id: InstanceId
  readonly incarnation: number
  readonly bytes: number
  /** Of the last change, by the wall clock. */
  readonly atMs: number
}

/** Evidence of an instance of which nothing else is left. */
export interface KeptEvidence {
  readonly id: InstanceId
  readonly bytes: number
  readonly savedAtMs: number
}

/** An image that a runtime fetched for us. */
export interface PulledImage {
  readonly runtime: Runtime
  /** As it was asked for. */
  readonly image: string
  /** The digest by which the engine knows it. */
  readonly imageId: string
  readonly bytes: number
  readonly pulledAtMs: number
  /** Some container has it, whoever's, or it has names that we did not give it. */
  readonly used: boolean
}

export interface GarbageFacts {
  /** Since the start of the machine; never jumps. */
  readonly elapsedMs: number
  readonly wallMs: number
  readonly runtimes: readonly RuntimeView[]
  readonly instances: readonly KnownInstance[]
  /** The control plane has told all its wishes since this agent began; null = not yet. Of these it knows nothing. */
  readonly unknownToControl: ReadonlySet<InstanceId> | null
  readonly kept: readonly KeptLogs[]
  readonly evidence: readonly KeptEvidence[]
  /** null = nobody asked for images. */
  readonly images: readonly PulledImage[] | null
  /** Somebody asked for instances unknown to the control plane by name of this flag: the guard against its loss of memory is lifted. */
  readonly releaseUnknown: boolean
  /** Since when each has been garbage without a break, by `elapsedMs`; what the last choice returned. */
  readonly since: ReadonlyMap<string, number>
  readonly config: GcConfig
  readonly limits: { readonly evidenceMax: number; readonly evidenceBytesMax: number }
}

/** What has to be done to collect it; the executor has no choices left. */
export type GarbageTarget =
  | {
      readonly what: 'object'
      readonly runtime: Runtime
      readonly series: number
      readonly id: InstanceId
      readonly incarnation: number
      readonly nonce: string
      readonly alive: boolean
    }
  | { readonly what: 'instance'; readonly runtime: Runtime; readonly series: number; readonly id: InstanceId }
  | { readonly what: 'logs'; readonly id: InstanceId; readonly incarnation: number }
  | { readonly what: 'evidence'; readonly id: InstanceId }
  | { readonly what: 'image'; readonly runtime: Runtime; readonly image: string; readonly imageId: string }

export interface Candidate {
  readonly key: string
  readonly kind: GarbageKind
  readonly reason: GarbageReason
  readonly target: GarbageTarget
  readonly detail: string
  readonly ageMs: number
  readonly bytes: number | null
  readonly due: boolean
  /** 0 when due; null when it never is by itself. */
  readonly dueInMs: number | null
}

export interface Choice {
  /** Due ones first, oldest first. */
  readonly candidates: readonly Candidate[]
  readonly since: ReadonlyMap<string, number>
}
