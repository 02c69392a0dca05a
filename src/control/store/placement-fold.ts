// Being placed, refused and lost, and what counts against a node. Pure. PostgreSQL asks the conditions in SQL, of the same lists.
import type { Desired } from '../../contracts/agent-protocol.ts'
import { type Failure, failure } from '../../contracts/errors.ts'
import type { NodeId } from '../../contracts/ids.ts'
import type { LastError, Phase, PhaseKind } from '../../contracts/phase.ts'
import type { Actor } from '../model/actor.ts'
import type { InstanceRecord, NodeRefusal } from '../model/instance.ts'
import { type InstanceFold, ownPhase, stepTo } from './instance-fold.ts'

/** It wants a node and has none. */
export const isUnplaced = ({ phase, deletedAtMs, nodeId, want }: InstanceRecord): boolean =>
  phase.kind === 'pending' && deletedAtMs === null && nodeId === null && want === 'running'

export function foldPlaced(now: InstanceRecord, nodeId: NodeId, actor: Actor, nowMs: number): InstanceFold {
  const phase = ownPhase('placed', 'requested', nowMs)
  const { step, event } = stepTo(now, phase, nowMs)
  const generation = now.generation + 1
  const data = { node_id: nodeId, generation, actor }
  return {
    after: { ...now, nodeId, generation, version: now.version + 1, refusals: [], phase, updatedAtMs: nowMs },
    left: false,
    step,
    events: [event, { type: 'instance.placed', orgId: now.orgId, instanceId: now.id, nodeId, data }],
  }
}

/** null = the same nodes refuse it by the same rules: no news. */
export function foldRefused(now: InstanceRecord, refusals: readonly NodeRefusal[], error: LastError, nowMs: number): InstanceFold | null {
  if (now.phase.lastError?.code === error.code && now.phase.reason === 'no_node' && namesOf(now.refusals) === namesOf(refusals)) return null
  const phase: Phase = { ...ownPhase('pending', 'no_node', now.phase.sinceMs), lastError: error }
  const data = {
    error: { code: error.code, detail: error.detail },
    nodes: refusals.map((one) => ({ node_id: one.nodeId, refused_by: one.refusedBy, detail: one.detail })),
  }
  return {
    after: { ...now, refusals, phase, updatedAtMs: nowMs },
    left: false,
    step: null,
    events: [{ type: 'instance.refused', orgId: now.orgId, instanceId: now.id, data }],
  }
}

/** Which node refuses by which rule; the figures in the detail move all the time and are not worth an event each. */
const namesOf = (refusals: readonly NodeRefusal[]): string =>
  refusals
    .map((one) => `${one.nodeId} ${one.refusedBy}`)
    .sort()
    .join()

/** States in which nothing of it runs, so that nothing of it can be lost with its node. */
export const NEVER_LOST: readonly PhaseKind[] = ['stopped', 'quarantined', 'failed', 'completed', 'lost', 'deleted']

export function foldLost(now: InstanceRecord, nowMs: number): InstanceFold {
  const phase = ownPhase('lost', 'node_lost', nowMs)
  const { step, event } = stepTo(now, phase, nowMs)
  return { after: { ...now, phase, updatedAtMs: nowMs }, left: false, step, events: [event] }
}

export interface Ledger {
  readonly allocatableMemoryBytes: number
  readonly reservedMemoryBytes: number
}

/** States that need no memory, unless it is wished to run. */
export const UNRESERVED: readonly PhaseKind[] = ['pending', 'placed', 'stopped', 'completed', 'failed', 'quarantined', 'lost', 'deleted']

/** What neither runs nor shall run counts nothing. */
export const reserves = ({ want, phase, deletedAtMs }: InstanceRecord): boolean =>
  deletedAtMs === null && (((want === 'running' || want === 'paused') && phase.kind !== 'completed') || !UNRESERVED.includes(phase.kind))

/** null = there is room. Memory only: CPU is shared in time, so it is a matter of scoring. */
export function refuseForSize(now: InstanceRecord, nodeId: NodeId, ledger: Ledger): Failure | null {
  const requested = now.spec.memoryBytes
  const available = Math.max(0, ledger.allocatableMemoryBytes - ledger.reservedMemoryBytes)
  if (requested <= available) return null
  const fields = { node_id: nodeId, dimension: 'memory', requested, available }
  return failure('node_full', `${nodeId} has ${available} bytes of memory left; ${now.name} needs ${requested}.`, fields)
}

/** The wish as its agent is told. */
export function desiredOf(now: InstanceRecord): Desired {
  return {
    id: now.id,
    orgId: now.orgId,
    name: now.name,
    generation: now.generation,
    want: now.want,
    spec: now.spec,
    labels: now.labels,
    modes: { recovery: now.recoveryMode, checks: now.checksMode },
    envModes: now.envModes,
    wishGeneration: now.wishGeneration,
    wishedBy: now.wishedBy,
    restartSeq: now.restartSeq,
    recoverSeq: now.recoverSeq,
    healSeq: now.healSeq,
    ...(now.purge && { purge: true }),
  }
}
