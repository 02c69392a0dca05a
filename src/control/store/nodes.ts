// Nodes and the sessions of their agents.
import type { Result } from '../../base/result.ts'
import type { NodeFacts, NodeUsage } from '../../contracts/agent-protocol.ts'
import type { Failure } from '../../contracts/errors.ts'
import type { NodeId } from '../../contracts/ids.ts'
import type { NodeRecord } from '../model/node.ts'
import type { Db, Tx } from './db.ts'
import type { Page } from './instances.ts'

const later = (): never => {
  throw new Error('being written')
}

/** A session counts as live this long after its last message. */
export const SESSION_LIVE_MS = 15_000

export interface Hello {
  readonly nodeId: NodeId
  readonly bootId: string
  readonly facts: NodeFacts
  readonly usage: NodeUsage
  /** `store.replica` of the process that holds the connection. */
  readonly replica: number
}

/** Opens a session and returns its epoch, the fence for everything written in it. `node_id_taken` while another agent's session is live. */
export function openSession(_tx: Tx, _hello: Hello): Promise<Result<{ epoch: number }, Failure>> {
  return later()
}

/** Ignored when a newer session exists. */
export function closeSession(_tx: Tx, _nodeId: NodeId, _epoch: number): Promise<Result<void, Failure>> {
  return later()
}

export interface Heartbeat {
  readonly nodeId: NodeId
  readonly epoch: number
  readonly usage: NodeUsage
  readonly facts: NodeFacts | null
}

/** One statement for many; returns the nodes whose session is still the newest. */
export function recordHeartbeats(_db: Db, _nowMs: number, _beats: readonly Heartbeat[]): Promise<Result<readonly NodeId[], Failure>> {
  return later()
}

/** Ordered by id. */
export function listNodes(
  _db: Db,
  _query: { readonly limit: number; readonly cursor?: string },
): Promise<Result<Page<NodeRecord>, Failure>> {
  return later()
}

/** All of them, for the scheduler. */
export function allNodes(_db: Db): Promise<Result<readonly NodeRecord[], Failure>> {
  return later()
}

/** By id, else unique prefix. Fails with `not_found`, `ambiguous_id`. */
export function findNode(_db: Db, _ref: string): Promise<Result<NodeRecord, Failure>> {
  return later()
}

export function setCordon(_tx: Tx, _nodeId: NodeId, _cordoned: boolean): Promise<Result<NodeRecord, Failure>> {
  return later()
}
