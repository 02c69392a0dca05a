import type { NodeFacts, NodeUsage } from '../../contracts/agent-protocol.ts'
import type { NodeId } from '../../contracts/ids.ts'

export interface NodeRecord {
  readonly id: NodeId
  readonly cordoned: boolean
  /** A session is open on some replica of the control plane. */
  readonly connected: boolean
  readonly lastSeenAtMs: number
  readonly facts: NodeFacts
  readonly usage: NodeUsage
  /** Rises with every session; a write by an older session is refused. */
  readonly sessionEpoch: number
  /** Sum of the memory caps of the instances placed here that are not gone: the reservation ledger. */
  readonly reservedMemoryBytes: number
  readonly reservedCpuMillis: number
  readonly instances: number
  readonly createdAtMs: number
}
