// The instance as the control plane keeps it. Control writes the desired half, the agent's observations the other one.
import type { Desired, Observed } from '../../contracts/agent-protocol.ts'
import type { EnvId, InstanceId, NodeId, OrgId } from '../../contracts/ids.ts'
import type { ChecksMode, ModeWish } from '../../contracts/modes.ts'
import type { Phase } from '../../contracts/phase.ts'
import type { InstanceSpec, RecoveryMode, Runtime } from '../../contracts/spec.ts'

export type Want = Desired['want']

/** Why one node cannot take an instance. */
export interface NodeRefusal {
  readonly nodeId: NodeId
  /** The dimension or rule: `memory`, `cordoned`, `runtime`, `selector`, … */
  readonly refusedBy: string
  readonly detail: string
}

/** Set for a replica of an env; null for an instance launched by itself. */
export interface EnvMembership {
  readonly envId: EnvId
  readonly app: string
  readonly env: string
  readonly processType: string
  /** Replica number within the process type, from 0. */
  readonly slot: number
  /** Hash of the part of the manifest this replica was made from. */
  readonly manifestHash: string
}

/** What the agent last said, without what has columns of its own (phase, generation, incarnation, transitions). */
export type ObservedRest = Omit<Observed, 'id' | 'generation' | 'incarnation' | 'phase' | 'transitions'>

/** Before the agent has said anything. */
export const NOTHING_OBSERVED: ObservedRest = {
  healSeq: 0,
  health: 'unknown',
  checks: [],
  addresses: [],
  pid: null,
  lastExit: null,
  attempts: [],
  cloudInit: null,
  notes: [],
}

export interface InstanceRecord {
  readonly id: InstanceId
  readonly orgId: OrgId
  readonly name: string
  readonly runtime: Runtime
  readonly membership: EnvMembership | null
  readonly spec: InstanceSpec
  /** As the user gave it, for the `desired.spec` of the API. */
  readonly input: Readonly<Record<string, unknown>>
  readonly labels: Readonly<Record<string, string>>
  readonly metadata: Readonly<Record<string, string>>
  // Desired: written by control only.
  readonly want: Want
  /** With `deleted`: no evidence of it is kept either. */
  readonly purge: boolean
  readonly generation: number
  readonly restartSeq: number
  readonly recoverSeq: number
  readonly healSeq: number
  /** Set on it itself; null = its env or node decides. */
  readonly recoveryMode: RecoveryMode | null
  readonly checksMode: ChecksMode | null
  /** Set on its env. */
  readonly envModes: ModeWish
  /** Generation of, and actor behind, the newest change that asks for something to be done; a change of modes does not. */
  readonly wishGeneration: number
  readonly wishedBy: string | null
  readonly nodeId: NodeId | null
  /** Per node, why it was not taken; filled while there is no place for it. */
  readonly refusals: readonly NodeRefusal[]
  // Observed: `pending`, `placed` and `lost` are written by control, every other phase by the agent.
  readonly phase: Phase
  readonly observedGeneration: number
  readonly incarnation: number
  readonly observed: ObservedRest | null
  /** The agent's numbering of transitions, on its present node. */
  readonly lastTransitionSeq: number
  /** Rises with every change of labels or metadata and of the desired half; the ETag of the API. */
  readonly version: number
  readonly createdAtMs: number
  readonly updatedAtMs: number
  readonly deletedAtMs: number | null
}
