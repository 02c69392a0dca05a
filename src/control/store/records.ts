// Rows become records here, once: everything that comes out of jsonb or text columns is parsed into its contract type.
import type { Selectable } from 'kysely'
import { z } from 'zod'
import { NodeFacts, NodeUsage, Observed } from '../../contracts/agent-protocol.ts'
import { AppId, EnvId, InstanceId, NodeId, OrgId, TokenId } from '../../contracts/ids.ts'
import { ChecksMode } from '../../contracts/modes.ts'
import { PHASE_KINDS, Phase, type PhaseKind } from '../../contracts/phase.ts'
import { InstanceSpec, RecoveryMode, Runtime } from '../../contracts/spec.ts'
import type { EnvRecord } from '../model/env.ts'
import type { HealRecord } from '../model/heal.ts'
import type { EnvMembership, InstanceRecord } from '../model/instance.ts'
import type { NodeRecord } from '../model/node.ts'
import type { OrgRecord, TokenRecord } from '../model/org.ts'
import type { InstanceTable, Schema } from './schema.ts'

const Texts = z.record(z.string(), z.string())
const Loose = z.record(z.string(), z.unknown())
const Refusals = z.array(z.object({ nodeId: NodeId, refusedBy: z.string(), detail: z.string() }))
const ObservedRest = Observed.omit({ id: true, generation: true, incarnation: true, phase: true, transitions: true })
export const Want = z.enum(['running', 'stopped', 'paused', 'deleted'])
// Made once: making a schema costs more than reading a row with it, and these are read for every row.
const NullableRecoveryMode = RecoveryMode.nullable()
const NullableChecksMode = ChecksMode.nullable()
const NullableObservedRest = ObservedRest.nullable()
export const NullableOrgId = OrgId.nullable()
export const NullableInstanceId = InstanceId.nullable()
export const NullableNodeId = NodeId.nullable()
const Role = z.enum(['viewer', 'operator', 'agent'])
export const StateName = z.enum(PHASE_KINDS as [PhaseKind, ...PhaseKind[]])

/** What the record of an instance is made from; `observed_epoch` and `history_seq` are the store's own. */
export const INSTANCE_COLUMNS = [
  'id',
  'org_id',
  'name',
  'runtime',
  'env_id',
  'app',
  'env',
  'process_type',
  'slot',
  'manifest_hash',
  'spec',
  'input',
  'labels',
  'metadata',
  'want',
  'purge',
  'generation',
  'restart_seq',
  'recover_seq',
  'heal_seq',
  'recovery_mode',
  'checks_mode',
  'env_recovery_mode',
  'env_checks_mode',
  'wish_generation',
  'wished_by',
  'node_id',
  'refusals',
  'phase',
  'observed_generation',
  'incarnation',
  'observed',
  'last_transition_seq',
  'version',
  'created_at_ms',
  'updated_at_ms',
  'deleted_at_ms',
] as const satisfies readonly (keyof InstanceTable)[]

export type InstanceRow = Pick<Selectable<InstanceTable>, (typeof INSTANCE_COLUMNS)[number]>

export function instanceRecord(row: InstanceRow): InstanceRecord {
  return {
    id: InstanceId.parse(row.id),
    orgId: OrgId.parse(row.org_id),
    name: row.name,
    runtime: Runtime.parse(row.runtime),
    membership: membership(row),
    spec: InstanceSpec.parse(row.spec),
    input: Loose.parse(row.input),
    labels: Texts.parse(row.labels),
    metadata: Texts.parse(row.metadata),
    want: Want.parse(row.want),
    purge: row.purge,
    generation: row.generation,
    restartSeq: row.restart_seq,
    recoverSeq: row.recover_seq,
    healSeq: row.heal_seq,
    recoveryMode: NullableRecoveryMode.parse(row.recovery_mode),
    checksMode: NullableChecksMode.parse(row.checks_mode),
    envModes: { recovery: NullableRecoveryMode.parse(row.env_recovery_mode), checks: NullableChecksMode.parse(row.env_checks_mode) },
    wishGeneration: row.wish_generation ?? row.generation,
    wishedBy: row.wished_by,
    nodeId: NullableNodeId.parse(row.node_id),
    refusals: Refusals.parse(row.refusals),
    phase: Phase.parse(row.phase),
    observedGeneration: row.observed_generation,
    incarnation: row.incarnation,
    observed: NullableObservedRest.parse(row.observed),
    lastTransitionSeq: row.last_transition_seq,
    version: row.version,
    createdAtMs: row.created_at_ms,
    updatedAtMs: row.updated_at_ms,
    deletedAtMs: row.deleted_at_ms,
  }
}

function membership(row: InstanceRow): EnvMembership | null {
  if (row.env_id === null) return null
  return {
    envId: EnvId.parse(row.env_id),
    app: row.app ?? '',
    env: row.env ?? '',
    processType: row.process_type ?? '',
    slot: row.slot ?? 0,
    manifestHash: row.manifest_hash ?? '',
  }
}

export interface NodeLedger {
  readonly reserved_memory_bytes: number | null
  readonly reserved_cpu_millis: number | null
  readonly instances: number | null
}

export function nodeRecord(row: Selectable<Schema['nodes']> & NodeLedger): NodeRecord {
  return {
    id: NodeId.parse(row.id),
    cordoned: row.cordoned,
    connected: row.connected,
    lastSeenAtMs: row.last_seen_at_ms,
    facts: NodeFacts.parse(row.facts),
    usage: NodeUsage.parse(row.usage),
    sessionEpoch: row.session_epoch,
    reservedMemoryBytes: row.reserved_memory_bytes ?? 0,
    reservedCpuMillis: row.reserved_cpu_millis ?? 0,
    instances: row.instances ?? 0,
    createdAtMs: row.created_at_ms,
  }
}

export function orgRecord(row: Selectable<Schema['orgs']>): OrgRecord {
  return { id: OrgId.parse(row.id), name: row.name, createdAtMs: row.created_at_ms }
}

export function tokenRecord(row: Omit<Selectable<Schema['tokens']>, 'hash'>): TokenRecord {
  return {
    id: TokenId.parse(row.id),
    name: row.name,
    orgId: NullableOrgId.parse(row.org_id),
    role: Role.parse(row.role),
    createdAtMs: row.created_at_ms,
    lastUsedAtMs: row.last_used_at_ms,
  }
}

export function healRecord(row: Omit<Selectable<Schema['heals']>, 'lease' | 'lease_until_ms'>): HealRecord {
  return {
    instanceId: InstanceId.parse(row.instance_id),
    orgId: OrgId.parse(row.org_id),
    generation: row.generation,
    givenUp: row.given_up,
    dueAtMs: row.due_at_ms,
    attempts: row.attempts,
    reason: row.reason,
    lastError: row.last_error,
    createdAtMs: row.created_at_ms,
  }
}

export function envRecord(row: Selectable<Schema['envs']> & { readonly app: string }): EnvRecord {
  return {
    id: EnvId.parse(row.id),
    orgId: OrgId.parse(row.org_id),
    appId: AppId.parse(row.app_id),
    app: row.app,
    env: row.name,
    manifest: Loose.parse(row.manifest),
    manifestHash: row.manifest_hash,
    deleting: row.deleting,
    createdAtMs: row.created_at_ms,
    updatedAtMs: row.updated_at_ms,
  }
}
