// When the session of an agent holds its node, and what is told of it. Pure.
import type { NodeFacts, NodeUsage } from '../../contracts/agent-protocol.ts'
import { type Failure, failure } from '../../contracts/errors.ts'
import type { NodeId } from '../../contracts/ids.ts'
import type { NewEvent } from '../model/event.ts'

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

export interface Heartbeat {
  readonly nodeId: NodeId
  readonly epoch: number
  readonly usage: NodeUsage
  readonly facts: NodeFacts | null
}

interface SessionFacts {
  readonly bootId: string
  readonly connected: boolean
  readonly lastSeenAtMs: number
}

// A wall clock that went back must not keep a dead session alive for long: the age counts in both directions.
export const isSilent = (lastSeenAtMs: number, nowMs: number): boolean => Math.abs(nowMs - lastSeenAtMs) >= SESSION_LIVE_MS

/** Another agent holds the node, provided that the replica of the control plane with its connection is alive. */
export const isHeldByOther = (now: SessionFacts, hello: Hello, nowMs: number): boolean =>
  now.bootId !== hello.bootId && now.connected && !isSilent(now.lastSeenAtMs, nowMs)

export function nodeIdTaken({ nodeId }: Hello, lastSeenAtMs: number, nowMs: number): Failure {
  const heardMsAgo = Math.max(0, nowMs - lastSeenAtMs)
  return failure('node_id_taken', `An agent calling itself ${nodeId} is connected; it was heard ${Math.round(heardMsAgo / 1000)} s ago.`, {
    node_id: nodeId,
    last_seen_ms_ago: heardMsAgo,
  })
}

/** Both say their state directory, and it is not the same one: see `bootMark` of the agent. */
export function isForeign(known: string, given: string): boolean {
  const [before, now] = [known, given].map((bootId) => (bootId.includes('.') ? bootId.split('.')[0] : undefined))
  return before !== undefined && now !== undefined && before !== now
}

/** For an agent that `isForeign` while instances of the node may run: without their journal it would start them a second time. */
export const notItsOwn = ({ nodeId }: Hello, lastSeenAtMs: number, nowMs: number): Failure =>
  failure(
    'node_id_taken',
    `${nodeId} has instances of an agent with another state directory, which may still run; they are its own until they are lost.`,
    { node_id: nodeId, last_seen_ms_ago: Math.max(0, nowMs - lastSeenAtMs) },
  )

export const sessionEnded = (nodeId: NodeId, epoch: number): Failure =>
  failure('node_id_taken', `The session ${epoch} of ${nodeId} has ended; a newer one took its place.`, { node_id: nodeId })

export const noNode = (ref: string): Failure => failure('not_found', `No node ${ref}.`, { kind: 'node', ref })

export const connectedEvent = ({ nodeId, facts }: Hello, epoch: number): NewEvent => ({
  type: 'node.connected',
  nodeId,
  data: { epoch, hostname: facts.hostname, agent_version: facts.agentVersion },
})

/** `cause`: why it was found to be held by nobody; left out when it was closed. */
export const disconnectedEvent = (nodeId: NodeId, epoch: number, cause?: 'silent' | 'replica_gone'): NewEvent => ({
  type: 'node.disconnected',
  nodeId,
  data: { epoch, ...(cause && { cause }) },
})
