// What agents report.
import type { Result } from '../../base/result.ts'
import type { Observed } from '../../contracts/agent-protocol.ts'
import type { Failure } from '../../contracts/errors.ts'
import type { InstanceId, NodeId } from '../../contracts/ids.ts'
import type { Tx } from './db.ts'

/**
 * Stores one batch: each transition once and in order, the newest phase, one event per new transition. Fenced: fails with
 * `node_id_taken` when `epoch` is not the node's newest session. The acks cover every item, also the ignored ones.
 */
export function recordObserved(
  _tx: Tx,
  _nodeId: NodeId,
  _epoch: number,
  _items: readonly Observed[],
): Promise<Result<readonly { id: InstanceId; seq: number }[], Failure>> {
  throw new Error('being written')
}
