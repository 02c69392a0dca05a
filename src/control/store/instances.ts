// Finding instances, and creating them.
import type { Result } from '../../base/result.ts'
import type { Transition } from '../../contracts/agent-protocol.ts'
import type { Failure } from '../../contracts/errors.ts'
import type { EnvId, InstanceId, NodeId, OrgId } from '../../contracts/ids.ts'
import type { PhaseKind } from '../../contracts/phase.ts'
import type { Selector } from '../../contracts/selector.ts'
import type { InstanceSpec, RecoveryMode } from '../../contracts/spec.ts'
import type { EnvMembership, InstanceRecord } from '../model/instance.ts'
import type { OrgScope } from '../model/org.ts'
import type { Db, Tx } from './db.ts'

const later = (): never => {
  throw new Error('being written')
}

export interface NewInstance {
  readonly id: InstanceId
  readonly orgId: OrgId
  readonly name: string
  readonly spec: InstanceSpec
  readonly input: Readonly<Record<string, unknown>>
  readonly labels: Readonly<Record<string, string>>
  readonly metadata: Readonly<Record<string, string>>
  readonly membership: EnvMembership | null
  readonly recoveryMode: RecoveryMode | null
}

/** Fails with `name_taken`. */
export function createInstance(_tx: Tx, _given: NewInstance): Promise<Result<InstanceRecord, Failure>> {
  return later()
}

/** By id, else unique name, else unique id prefix. A deleted one is found by its whole id only. Fails with `not_found`, `ambiguous_id`. */
export function findInstance(_db: Db, _ref: string, _scope: OrgScope): Promise<Result<InstanceRecord, Failure>> {
  return later()
}

/** null when there is no such row. */
export function getInstance(_db: Db, _id: InstanceId): Promise<Result<InstanceRecord | null, Failure>> {
  return later()
}

export interface InstanceQuery {
  readonly scope: OrgScope
  readonly selector?: Selector
  readonly state?: PhaseKind
  readonly name?: string
  readonly envId?: EnvId
  readonly nodeId?: NodeId
  readonly includeDeleted?: boolean
  readonly limit: number
  readonly cursor?: string
}

export interface Page<T> {
  readonly items: readonly T[]
  readonly nextCursor: string | null
}

/** Newest first, by keyset. A malformed cursor is `invalid_input`. */
export function listInstances(_db: Db, _query: InstanceQuery): Promise<Result<Page<InstanceRecord>, Failure>> {
  return later()
}

/** All instances of an env that are not gone, ordered by process type and slot. */
export function listEnvInstances(_db: Db, _envId: EnvId): Promise<Result<readonly InstanceRecord[], Failure>> {
  return later()
}

/** Newest last; at most the last 200 are kept. */
export function listTransitions(_db: Db, _id: InstanceId): Promise<Result<readonly Transition[], Failure>> {
  return later()
}

/** Live instances by runtime and state, for the gauges. */
export function countInstances(
  _db: Db,
): Promise<Result<readonly { runtime: string; state: PhaseKind; count: number; healthy: number; unhealthy: number }[], Failure>> {
  return later()
}

/** Removes rows deleted before `beforeMs`, with their transitions; returns how many. */
export function purgeInstances(_tx: Tx, _beforeMs: number, _limit: number): Promise<Result<number, Failure>> {
  return later()
}
