// What is read of tables in memory: the meaning of the queries of src/control/store, in the same order.
import { err, ok } from '../../src/base/result.ts'
import { matches } from '../../src/contracts/selector.ts'
import type { EventRecord } from '../../src/control/model/event.ts'
import type { InstanceRecord } from '../../src/control/model/instance.ts'
import type { NodeRecord } from '../../src/control/model/node.ts'
import type { OrgScope } from '../../src/control/model/org.ts'
import type { StoreReads } from '../../src/control/store/access.ts'
import type { EventQuery } from '../../src/control/store/events.ts'
import { instanceRules, MATCHES_SHOWN, nodeRules, theEnv, theInstance, theNode } from '../../src/control/store/find.ts'
import { isHealable } from '../../src/control/store/heal-fold.ts'
import type { InstanceQuery } from '../../src/control/store/instances.ts'
import { checkCursor, pageOf } from '../../src/control/store/page.ts'
import { desiredOf, isUnplaced, reserves } from '../../src/control/store/placement-fold.ts'
import type { MemoryRows, NodeRow } from './memory-tables.ts'

const isLive = ({ deletedAtMs }: InstanceRecord) => deletedAtMs === null
const sees = (scope: OrgScope, orgId: string | null) => scope === null || orgId === scope
const recordsOf = (rows: MemoryRows): readonly InstanceRecord[] => rows.instances.all().map((row) => row.record)

export function memoryReads(rows: MemoryRows): StoreReads {
  return { ...instanceReads(rows), ...nodeReads(rows), ...healReads(rows), ...envReads(rows), ...logReads(rows) }
}

type InstanceReads = 'getInstance' | 'findInstance' | 'listInstances' | 'listEnvInstances' | 'listTransitions' | 'listUnplaced'

function instanceReads(rows: MemoryRows): Pick<StoreReads, InstanceReads> {
  return {
    getInstance: async (id) => ok(rows.instances.get(id)?.record ?? null),
    async findInstance(ref, scope) {
      const seen = recordsOf(rows).filter((one) => sees(scope, one.orgId))
      const by = {
        id: () => seen.filter((one) => one.id === ref),
        name: () => seen.filter((one) => isLive(one) && one.name === ref),
        prefix: () => seen.filter((one) => isLive(one) && one.id.startsWith(ref)),
      }
      for (const rule of instanceRules(ref)) {
        const found = by[rule]().slice(0, MATCHES_SHOWN)
        if (found.length > 0) return theInstance(ref, found)
      }
      return theInstance(ref, [])
    },
    async listInstances(query) {
      const cursor = checkCursor(query.cursor, /^inst_[0-9a-z]{20}$/)
      if (!cursor.ok) return cursor
      const found = recordsOf(rows).filter((one) => meets(one, query) && (cursor.value === null || one.id < cursor.value))
      return ok(
        pageOf(
          found.toReversed(),
          query.limit,
          (one) => one.id,
          (one) => one,
        ),
      )
    },
    listEnvInstances: async (envId) =>
      ok(
        recordsOf(rows)
          .filter((one) => isLive(one) && one.membership?.envId === envId)
          .sort((left, right) => byReplica(left, right)),
      ),
    listTransitions: async (id) => ok(rows.transitions.get(id) ?? []),
    listUnplaced: async (limit, after, among) =>
      ok(
        recordsOf(rows)
          .filter((one) => isUnplaced(one) && (after === undefined || one.id > after) && (among?.includes(one.id) ?? true))
          .slice(0, limit),
      ),
  }
}

function meets(one: InstanceRecord, query: InstanceQuery): boolean {
  return (
    (query.includeDeleted === true || isLive(one)) &&
    sees(query.scope, one.orgId) &&
    (query.state === undefined || one.phase.kind === query.state) &&
    (query.name === undefined || one.name === query.name) &&
    (query.envId === undefined || one.membership?.envId === query.envId) &&
    (query.nodeId === undefined || one.nodeId === query.nodeId) &&
    matches(query.selector ?? [], one.labels)
  )
}

/** By process type and slot; the sort is stable, so by id among equals. */
function byReplica(left: InstanceRecord, right: InstanceRecord): number {
  const [a, b] = [left.membership?.processType ?? '', right.membership?.processType ?? '']
  if (a !== b) return a < b ? -1 : 1
  return (left.membership?.slot ?? 0) - (right.membership?.slot ?? 0)
}

function nodeReads(rows: MemoryRows): Pick<StoreReads, 'allNodes' | 'findNode' | 'desiredOfNode' | 'desiredByIds'> {
  return {
    allNodes: async () => ok(nodeRecords(rows, rows.nodes.all())),
    async findNode(ref) {
      const by = {
        id: () => rows.nodes.all().filter((node) => node.id === ref),
        prefix: () => rows.nodes.all().filter((node) => node.id.startsWith(ref)),
      }
      for (const rule of nodeRules(ref)) {
        const found = by[rule]().slice(0, 2)
        if (found.length > 0) return theNode(ref, nodeRecords(rows, found))
      }
      return theNode(ref, [])
    },
    desiredOfNode: async (nodeId) =>
      ok(
        recordsOf(rows)
          .filter((one) => isLive(one) && one.nodeId === nodeId)
          .map((one) => ({ desired: desiredOf(one), seq: one.lastTransitionSeq })),
      ),
    async desiredByIds(ids) {
      const found = [...new Set(ids)].sort().flatMap((id) => rows.instances.get(id)?.record ?? [])
      return ok(found.filter(isLive).map((one) => ({ desired: desiredOf(one), nodeId: one.nodeId })))
    },
  }
}

/** With their ledgers, counted in one walk. */
export function nodeRecords(rows: MemoryRows, nodes: readonly NodeRow[]): readonly NodeRecord[] {
  const ledgers = new Map(nodes.map((node) => [node.id, { reservedMemoryBytes: 0, reservedCpuMillis: 0, instances: 0 }]))
  for (const { record } of rows.instances.all()) {
    const ledger = record.nodeId === null || !isLive(record) ? undefined : ledgers.get(record.nodeId)
    if (!ledger) continue
    ledger.instances += 1
    if (!reserves(record)) continue
    ledger.reservedMemoryBytes += record.spec.memoryBytes
    ledger.reservedCpuMillis += record.spec.cpuMillis
  }
  const none = { reservedMemoryBytes: 0, reservedCpuMillis: 0, instances: 0 }
  return nodes.map(({ bootId: _bootId, replica: _replica, ...node }) => ({ ...node, ...(ledgers.get(node.id) ?? none) }))
}

function healReads(rows: MemoryRows): Pick<StoreReads, 'listHealable' | 'getHeal' | 'getHeals' | 'nextHealDueMs'> {
  const healOf = (id: string) => rows.heals.get(id)?.record
  return {
    listHealable: async (limit) =>
      ok(
        recordsOf(rows)
          .filter((one) => isHealable(one, healOf(one.id)))
          .sort((left, right) => left.updatedAtMs - right.updatedAtMs)
          .slice(0, limit),
      ),
    getHeal: async (id) => ok(healOf(id) ?? null),
    async getHeals(ids) {
      const found = ids.flatMap((id) => healOf(id) ?? [])
      return ok(new Map(found.map((heal) => [heal.instanceId, heal])))
    },
    async nextHealDueMs() {
      const open = rows.heals.all().filter((row) => !row.record.givenUp)
      return ok(open.length === 0 ? null : Math.min(...open.map((row) => Math.max(row.record.dueAtMs, row.leaseUntilMs))))
    },
  }
}

function envReads(rows: MemoryRows): Pick<StoreReads, 'allEnvs' | 'findEnv'> {
  return {
    allEnvs: async () => ok(rows.envs.all()),
    async findEnv(ref, scope) {
      const seen = rows.envs.all().filter((env) => sees(scope, env.orgId))
      const [app, name] = ref.split('/', 2)
      if (app !== undefined && name !== undefined)
        return theEnv(
          ref,
          seen.filter((env) => env.app === app && env.env === name),
        )
      const byId = seen.filter((env) => env.id === ref)
      const found = byId.length > 0 ? byId : seen.filter((env) => env.env === ref)
      return theEnv(ref, found.slice(0, MATCHES_SHOWN))
    },
  }
}

function logReads(rows: MemoryRows): Pick<StoreReads, 'listEvents' | 'latestCursor' | 'listAudit'> {
  return {
    listEvents: async (query) => ok(eventsAfter(rows.events.all(), query)),
    latestCursor: async () => ok(rows.events.last()?.cursor ?? 0),
    async listAudit(query) {
      const cursor = checkCursor(query.cursor, /^\d{1,15}$/)
      if (!cursor.ok) return err(cursor.error)
      const before = cursor.value === null ? Number.POSITIVE_INFINITY : Number(cursor.value)
      const found = rows.audits.all().filter((row) => sees(query.scope, row.orgId) && row.cursor < before)
      return ok(
        pageOf(
          found.toReversed(),
          query.limit,
          (row) => String(row.cursor),
          (row) => row,
        ),
      )
    },
  }
}

/** The log has no gaps, so a cursor says where it stands. */
function eventsAfter(all: readonly EventRecord[], { scope, after, limit, instanceId }: EventQuery): readonly EventRecord[] {
  const found: EventRecord[] = []
  const first = all[0]?.cursor ?? 0
  for (let at = Math.max(0, after - first + 1); at < all.length && found.length < limit; at += 1) {
    const event = all[at] as EventRecord
    if ((event.orgId === null || sees(scope, event.orgId)) && (instanceId === undefined || event.instanceId === instanceId))
      found.push(event)
  }
  return found
}
