// Placing instances on nodes, and what a node is to run.
import type { Result } from '../../base/result.ts'
import type { Desired } from '../../contracts/agent-protocol.ts'
import type { Failure } from '../../contracts/errors.ts'
import type { InstanceId, NodeId } from '../../contracts/ids.ts'
import type { LastError } from '../../contracts/phase.ts'
import type { InstanceRecord, NodeRefusal } from '../model/instance.ts'
import type { Db, Tx } from './db.ts'

const later = (): never => {
  throw new Error('being written')
}

/** Instances that want a node and have none, oldest first. */
export function listUnplaced(_db: Db, _limit: number): Promise<Result<readonly InstanceRecord[], Failure>> {
  return later()
}

/**
 * Places it if it still is unplaced and wanted; null when that has changed. The node's ledger is checked under its row lock, so
 * two placements never oversubscribe it: `node_full` with dimension, requested, available.
 */
export function placeInstance(_tx: Tx, _id: InstanceId, _nodeId: NodeId): Promise<Result<InstanceRecord | null, Failure>> {
  return later()
}

/** Records why no node takes it; writes and emits only when the refusals changed. */
export function refuseInstance(
  _tx: Tx,
  _id: InstanceId,
  _refusals: readonly NodeRefusal[],
  _error: LastError,
): Promise<Result<void, Failure>> {
  return later()
}

/** The whole desired set of a node (for `welcome`), and up to which transition each is stored. */
export function desiredOfNode(_db: Db, _nodeId: NodeId): Promise<Result<readonly { desired: Desired; seq: number }[], Failure>> {
  return later()
}

export function desiredByIds(
  _db: Db,
  _ids: readonly InstanceId[],
): Promise<Result<readonly { desired: Desired; nodeId: NodeId | null }[], Failure>> {
  return later()
}

/** Marks the live instances of a node whose phase is not resting as `lost`; returns their ids. */
export function markLost(_tx: Tx, _nodeId: NodeId): Promise<Result<readonly InstanceId[], Failure>> {
  return later()
}
