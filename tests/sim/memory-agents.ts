// Sessions of agents, what they observe, and the healer's work, in memory.
import { err, OK, ok } from '../../src/base/result.ts'
import type { InstanceId, NodeId } from '../../src/contracts/ids.ts'
import type { ClaimedHeal } from '../../src/control/model/heal.ts'
import type { StoreWrites } from '../../src/control/store/access.ts'
import { freshHeal, type HealClaim } from '../../src/control/store/heal-fold.ts'
import { storable } from '../../src/control/store/json.ts'
import { acksOf, type BatchFold, foldBatch, type Stored } from '../../src/control/store/observed-fold.ts'
import { UNRESERVED } from '../../src/control/store/placement-fold.ts'
import {
  connectedEvent,
  disconnectedEvent,
  type Heartbeat,
  isForeign,
  isHeldByOther,
  isSilent,
  nodeIdTaken,
  noNode,
  notItsOwn,
  sessionEnded,
} from '../../src/control/store/session-fold.ts'
import { nodeRecords } from './memory-reads.ts'
import type { MemoryRows } from './memory-tables.ts'
import type { Draft } from './memory-writes.ts'

type SessionWrites = 'openSession' | 'closeSession' | 'expireSessions' | 'setCordon' | 'recordObserved'

export function sessionWrites(draft: Draft): Pick<StoreWrites, SessionWrites> {
  const { rows, nowMs, actor } = draft
  return {
    async openSession(hello) {
      const { nodeId, bootId, replica } = hello
      const now = rows.nodes.get(nodeId)
      if (now && isHeldByOther(now, hello, nowMs) && draft.isReplicaAlive(now.replica))
        return err(nodeIdTaken(hello, now.lastSeenAtMs, nowMs))
      if (now && isForeign(now.bootId, bootId) && mayRun(rows, nodeId)) return err(notItsOwn(hello, now.lastSeenAtMs, nowMs))
      const { facts, usage } = storable({ facts: hello.facts, usage: hello.usage })
      const epoch = (now?.sessionEpoch ?? 0) + 1
      const session = { connected: true, lastSeenAtMs: nowMs, facts, usage, bootId, replica, sessionEpoch: epoch }
      rows.nodes.put(nodeId, { id: nodeId, cordoned: now?.cordoned ?? false, createdAtMs: now?.createdAtMs ?? nowMs, ...session })
      draft.emit(connectedEvent(hello, epoch))
      draft.changed({ kind: 'node', id: nodeId })
      return ok({ epoch })
    },
    async closeSession(nodeId, epoch) {
      const now = rows.nodes.get(nodeId)
      if (now?.sessionEpoch !== epoch) return OK
      rows.nodes.put(nodeId, { ...now, connected: false, sessionEpoch: epoch + 1 })
      if (!now.connected) return OK
      draft.emit(disconnectedEvent(nodeId, epoch))
      draft.changed({ kind: 'node', id: nodeId })
      return OK
    },
    async expireSessions() {
      const closed: NodeId[] = []
      for (const node of rows.nodes.all().filter((one) => one.connected)) {
        const silent = isSilent(node.lastSeenAtMs, nowMs)
        if (!silent && draft.isReplicaAlive(node.replica)) continue
        rows.nodes.put(node.id, { ...node, connected: false })
        closed.push(node.id)
        draft.emit(disconnectedEvent(node.id, node.sessionEpoch, silent ? 'silent' : 'replica_gone'))
        draft.changed({ kind: 'node', id: node.id })
      }
      return ok(closed)
    },
    async setCordon(nodeId, cordoned) {
      const now = rows.nodes.get(nodeId)
      if (!now) return err(noNode(nodeId))
      const after = { ...now, cordoned }
      if (now.cordoned !== cordoned) {
        rows.nodes.put(nodeId, after)
        draft.emit({ type: cordoned ? 'node.cordoned' : 'node.uncordoned', nodeId, data: { actor } })
        draft.changed({ kind: 'node', id: nodeId })
      }
      const [record] = nodeRecords(rows, [after])
      return record ? ok(record) : err(noNode(nodeId))
    },
    async recordObserved(nodeId, epoch, items) {
      if (items.length === 0) return ok([])
      if (rows.nodes.get(nodeId)?.sessionEpoch !== epoch) return err(sessionEnded(nodeId, epoch))
      for (const fold of foldBatch(storedOf(rows, nodeId, items), nodeId, epoch, storable(items), nowMs)) store(draft, epoch, fold)
      return ok(acksOf(items))
    },
  }
}

/** Something of the node is alive as far as anybody knows. */
const mayRun = (rows: MemoryRows, nodeId: NodeId): boolean =>
  rows.instances
    .all()
    .some(({ record }) => record.nodeId === nodeId && record.deletedAtMs === null && !UNRESERVED.includes(record.phase.kind))

function storedOf(rows: MemoryRows, nodeId: NodeId, items: readonly { readonly id: InstanceId }[]): Map<InstanceId, Stored> {
  const stored = new Map<InstanceId, Stored>()
  for (const { id } of items) {
    const row = rows.instances.get(id)
    if (!row || row.record.nodeId !== nodeId || row.record.deletedAtMs !== null) continue
    const { record, observedEpoch, historySeq } = row
    stored.set(id, { ...record, state: record.phase.kind, observedEpoch, historySeq })
  }
  return stored
}

function store(draft: Draft, epoch: number, fold: BatchFold): void {
  const { rows, nowMs } = draft
  const { id, phase, incarnation, historySeq, numbered, trimUpTo } = fold
  const row = rows.instances.get(id)
  if (!row) throw new Error(`bug in a test: no instance ${id}`)
  const record = {
    ...row.record,
    phase,
    incarnation,
    observedGeneration: fold.generation,
    observed: fold.rest,
    lastTransitionSeq: fold.lastTransitionSeq,
    updatedAtMs: nowMs,
    deletedAtMs: fold.gone ? nowMs : null,
  }
  rows.instances.put(id, { record, observedEpoch: epoch, historySeq })
  if (numbered.length > 0)
    rows.transitions.put(
      id,
      [...(rows.transitions.get(id) ?? []), ...numbered].filter((step) => step.seq > trimUpTo),
    )
  if (fold.endsSpentHeal && rows.heals.get(id)?.record.givenUp) rows.heals.drop(id)
  for (const event of fold.events) draft.emit(event)
  if (fold.notable) draft.changed({ kind: 'instance', id })
}

/** The nodes whose session is still the newest. */
export function storeHeartbeats(rows: MemoryRows, nowMs: number, beats: readonly Heartbeat[]): readonly NodeId[] {
  return beats.flatMap(({ nodeId, epoch, usage, facts }) => {
    const now = rows.nodes.get(nodeId)
    if (now?.sessionEpoch !== epoch) return []
    rows.nodes.put(nodeId, { ...now, connected: true, lastSeenAtMs: nowMs, usage: storable(usage), facts: storable(facts ?? now.facts) })
    return [nodeId]
  })
}

export function healWrites({ rows, nowMs, changed }: Draft): Pick<StoreWrites, 'scheduleHeal' | 'postponeHeal' | 'finishHeal'> {
  const held = (heal: ClaimedHeal) => {
    const row = rows.heals.get(heal.instanceId)
    return row?.lease === heal.lease ? row : undefined
  }
  return {
    async scheduleHeal(given) {
      const known = rows.heals.get(given.instanceId)?.record
      if (known && known.generation >= given.generation) return ok(false)
      rows.heals.put(given.instanceId, { record: freshHeal(given, nowMs), lease: null, leaseUntilMs: 0 })
      changed({ kind: 'heal', id: given.instanceId })
      return ok(true)
    },
    async postponeHeal(heal, given) {
      const row = held(heal)
      if (row) rows.heals.put(heal.instanceId, { record: { ...row.record, ...given }, lease: null, leaseUntilMs: 0 })
      return ok(row !== undefined)
    },
    async finishHeal(heal) {
      const row = held(heal)
      if (row) rows.heals.drop(heal.instanceId)
      return ok(row !== undefined)
    },
  }
}

/** One organisation after the other: everybody's first comes before anybody's second. */
export function takeDueHeals(rows: MemoryRows, { nowMs, leaseMs, lease, limit }: HealClaim): readonly ClaimedHeal[] {
  const due = rows.heals
    .all()
    .filter(({ record, ...row }) => !record.givenUp && record.dueAtMs <= nowMs && (row.lease === null || row.leaseUntilMs <= nowMs))
    .sort((left, right) => left.record.dueAtMs - right.record.dueAtMs)
  const turns = new Map<string, number>()
  const ranked = due.map((row) => {
    const turn = (turns.get(row.record.orgId) ?? 0) + 1
    turns.set(row.record.orgId, turn)
    return { row, turn }
  })
  const picked = ranked.sort((left, right) => left.turn - right.turn).slice(0, limit)
  for (const { row } of picked) rows.heals.put(row.record.instanceId, { ...row, lease, leaseUntilMs: nowMs + leaseMs })
  return picked.map(({ row }) => ({ ...row.record, lease }))
}
