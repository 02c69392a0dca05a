// What a write may do to tables in memory: the folds of src/control/store, applied to a draft. Nothing is locked, for there is only one
// write at a time; nothing waits, so a write is as long as its own waits.
import { err, OK, ok, type Result } from '../../src/base/result.ts'
import { type Failure, failure } from '../../src/contracts/errors.ts'
import type { InstanceId } from '../../src/contracts/ids.ts'
import type { InstanceRecord } from '../../src/control/model/instance.ts'
import type { StoreWrites } from '../../src/control/store/access.ts'
import type { WriteInProgress } from '../../src/control/store/db.ts'
import { createdEvent, firstRecord, foldDesired, foldMetadata, nameTaken, noInstance } from '../../src/control/store/desired-fold.ts'
import type { InstanceFold } from '../../src/control/store/instance-fold.ts'
import { storable } from '../../src/control/store/json.ts'
import { foldLost, foldPlaced, foldRefused, isUnplaced, NEVER_LOST, refuseForSize } from '../../src/control/store/placement-fold.ts'
import { noNode } from '../../src/control/store/session-fold.ts'
import { nodeRecords } from './memory-reads.ts'
import type { MemoryRows } from './memory-tables.ts'

/** One write: what it sees and changes, and what it says. */
export interface Draft extends WriteInProgress {
  readonly rows: MemoryRows
  isReplicaAlive(replica: number): boolean
}

type InstanceWrites = 'createOrg' | 'createInstance' | 'changeDesired' | 'putMetadata' | 'purgeInstances'

export function instanceWrites(draft: Draft): Pick<StoreWrites, InstanceWrites> {
  const { rows, nowMs, actor } = draft
  return {
    async createOrg(org) {
      if (rows.orgs.all().some((one) => one.name === org.name))
        return err(failure('name_taken', `An organisation named ${org.name} exists.`, { field: 'name', name: org.name }))
      const record = { ...org, createdAtMs: nowMs }
      rows.orgs.put(org.id, record)
      draft.emit({ type: 'org.created', orgId: org.id, data: { name: org.name, actor } })
      return ok(record)
    },
    async createInstance(given) {
      if (!rows.orgs.get(given.orgId)) throw new Error(`bug in a test: no organisation ${given.orgId}`)
      const { orgId, name } = given
      const named = ({ record }: { readonly record: InstanceRecord }) =>
        record.deletedAtMs === null && record.orgId === orgId && record.name === name
      if (rows.instances.all().some(named)) return err(nameTaken(name))
      const record = firstRecord(storable(given), actor, nowMs)
      rows.instances.put(given.id, { record, observedEpoch: 0, historySeq: 0 })
      draft.emit(createdEvent(given, actor))
      draft.changed({ kind: 'instance', id: given.id })
      return ok(record)
    },
    changeDesired: async (id, decide) =>
      change(draft, id, (now) => {
        const decision = decide(now)
        return decision.ok ? foldDesired(now, decision.value, actor, nowMs) : decision
      }),
    putMetadata: async (id, given) => change(draft, id, (now) => foldMetadata(now, storable(given), actor, nowMs)),
    async purgeInstances(beforeMs, limit) {
      const gone = rows.instances
        .all()
        .map((row) => row.record)
        .filter(({ deletedAtMs }) => deletedAtMs !== null && deletedAtMs < beforeMs)
        .sort((left, right) => (left.deletedAtMs ?? 0) - (right.deletedAtMs ?? 0))
        .slice(0, limit)
      for (const { id } of gone) for (const table of [rows.instances, rows.transitions, rows.heals]) table.drop(id)
      return ok(gone.length)
    },
  }
}

type PlacementWrites = 'placeInstance' | 'refuseInstance' | 'markLost'

export function placementWrites(draft: Draft): Pick<StoreWrites, PlacementWrites> {
  const { rows, nowMs, actor } = draft
  const unplaced = (id: InstanceId): InstanceRecord | null => {
    const now = rows.instances.get(id)?.record
    return now && isUnplaced(now) ? now : null
  }
  return {
    async placeInstance(id, nodeId) {
      const row = rows.nodes.get(nodeId)
      const node = row && nodeRecords(rows, [row])[0]
      if (!node) return err(noNode(nodeId))
      const now = unplaced(id)
      if (!now) return ok(null)
      const { reservedMemoryBytes, facts } = node
      const refused = refuseForSize(now, nodeId, { allocatableMemoryBytes: facts.allocatableMemoryBytes, reservedMemoryBytes })
      return refused ? err(refused) : ok(apply(draft, foldPlaced(now, nodeId, actor, nowMs)))
    },
    async refuseInstance(id, refusals, error) {
      const now = unplaced(id)
      const fold = now && foldRefused(now, refusals, error, nowMs)
      if (fold) apply(draft, fold)
      return OK
    },
    async markLost(nodeId) {
      const node = rows.nodes.get(nodeId)
      if (!node) return err(noNode(nodeId))
      if (node.connected) return ok([])
      const alive = rows.instances
        .all()
        .map((row) => row.record)
        .filter((one) => one.nodeId === nodeId && one.deletedAtMs === null && !NEVER_LOST.includes(one.phase.kind))
      for (const now of alive) apply(draft, foldLost(now, nowMs))
      return ok(alive.map((one) => one.id))
    },
  }
}

/** null from `fold` = nothing changes. */
function change(
  draft: Draft,
  id: InstanceId,
  fold: (now: InstanceRecord) => Result<InstanceFold | null, Failure>,
): Result<InstanceRecord, Failure> {
  const now = draft.rows.instances.get(id)?.record
  if (!now || now.deletedAtMs !== null) return err(noInstance(id))
  const folded = fold(now)
  if (!folded.ok) return folded
  return ok(folded.value ? apply(draft, folded.value) : now)
}

function apply(draft: Draft, { after, left, step, events }: InstanceFold): InstanceRecord {
  const { rows } = draft
  const before = rows.instances.get(after.id)
  if (!before) throw new Error(`bug in a test: no instance ${after.id}`)
  const historySeq = before.historySeq + (step ? 1 : 0)
  rows.instances.put(after.id, { record: after, historySeq, observedEpoch: left ? 0 : before.observedEpoch })
  if (step) rows.transitions.put(after.id, [...(rows.transitions.get(after.id) ?? []), { ...step, seq: historySeq }])
  for (const event of events) draft.emit(event)
  draft.changed({ kind: 'instance', id: after.id })
  return after
}
