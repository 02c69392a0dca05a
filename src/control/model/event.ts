// The event log (one gap-free total order) and the audit log.
import type { InstanceId, NodeId, OrgId } from '../../contracts/ids.ts'
import type { Actor } from './actor.ts'

export const EVENT_TYPES = [
  'instance.created',
  'instance.desired_changed', // {verb, want, generation, actor}
  'instance.metadata_changed', // {version, actor}
  'instance.placed', // {node_id, generation}
  'instance.refused', // {nodes}
  'instance.state_changed', // {from, to, reason, incarnation, error?, exit?}
  'instance.deleted',
  'resource.collected', // {kind, reason, id, incarnation, runtime, detail, age_ms, bytes, at}
  'heal.succeeded', // {attempts}
  'heal.given_up', // {attempts, cause}
  'node.connected',
  'node.disconnected',
  'node.cordoned',
  'node.uncordoned',
  'org.created',
  'token.created',
  'token.revoked',
  'env.changed', // {app, env, hash}
  'env.deleted',
] as const
export type EventType = (typeof EVENT_TYPES)[number]

export interface NewEvent {
  readonly type: EventType
  readonly orgId?: OrgId | null
  readonly instanceId?: InstanceId | null
  readonly nodeId?: NodeId | null
  readonly data?: Readonly<Record<string, unknown>>
}

export interface EventRecord {
  /** Position in the one total order, from 1, without gaps. */
  readonly cursor: number
  readonly atMs: number
  readonly type: EventType
  readonly orgId: OrgId | null
  readonly instanceId: InstanceId | null
  readonly nodeId: NodeId | null
  readonly data: Readonly<Record<string, unknown>>
}

export interface NewAudit {
  readonly action: string
  readonly orgId: OrgId | null
  readonly target: string
  readonly outcome: 'accepted' | 'refused'
  readonly requestId: string | null
  readonly data?: Readonly<Record<string, unknown>>
}

export interface AuditRecord {
  readonly cursor: number
  readonly atMs: number
  readonly actor: Actor
  readonly action: string
  readonly orgId: OrgId | null
  readonly target: string
  readonly outcome: 'accepted' | 'refused'
  readonly requestId: string | null
  readonly data: Readonly<Record<string, unknown>>
}

/** "Look again at this": what a notification carries. Never data, and a lost one costs only time. */
export interface ChangeKey {
  readonly kind: 'instance' | 'node' | 'env' | 'event' | 'heal'
  readonly id: string
}
