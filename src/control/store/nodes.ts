// Nodes and the sessions of their agents.
import { sql } from 'kysely'
import type { Result } from '../../base/result.ts'
import type { Failure } from '../../contracts/errors.ts'
import { NODE_ID_PATTERN, NodeId, type OrgId } from '../../contracts/ids.ts'
import type { NodeRecord } from '../model/node.ts'
import { attempt, Rollback } from './attempt.ts'
import type { Db, Tx } from './db.ts'
import { nodeRules, theNode } from './find.ts'
import { json } from './json.ts'
import { RESERVES } from './ledger.ts'
import { checkCursor, type Page, type PageQuery, pageOf } from './page.ts'
import { UNRESERVED } from './placement-fold.ts'
import { nodeRecord } from './records.ts'
import {
  connectedEvent,
  disconnectedEvent,
  type Heartbeat,
  type Hello,
  isForeign,
  isHeldByOther,
  isSilent,
  nodeIdTaken,
  notItsOwn,
} from './session-fold.ts'
import { LOCKS } from './transaction.ts'

/**
 * Opens a session and returns its epoch, the fence for everything written in it. `node_id_taken` while another agent (another
 * boot id) has a live session: open, heard of lately, and held by a replica of the control plane that is itself alive. Without the
 * last, an agent and a control plane killed together would lock themselves out. Also while the node has instances that may run under
 * an agent with another state directory: after an outage of the control plane the wrong one of two may be the first to dial.
 */
export function openSession(tx: Tx, hello: Hello): Promise<Result<{ epoch: number }, Failure>> {
  return attempt(async () => {
    const session = {
      connected: true,
      last_seen_at_ms: tx.nowMs,
      facts: json(hello.facts),
      usage: json(hello.usage),
      session_boot_id: hello.bootId,
      session_replica: hello.replica,
    }
    // Two agents may say their very first hello at once: the second one waits here and then finds the first one's row.
    const fresh = await tx.db
      .insertInto('nodes')
      .values({ id: hello.nodeId, ...session, session_epoch: 1, created_at_ms: tx.nowMs })
      .onConflict((conflict) => conflict.column('id').doNothing())
      .returning('session_epoch')
      .executeTakeFirst()
    const epoch = fresh?.session_epoch ?? (await takeOver(tx, hello, session))
    tx.emit(connectedEvent(hello, epoch))
    tx.changed({ kind: 'node', id: hello.nodeId })
    return { epoch }
  })
}

async function takeOver(tx: Tx, hello: Hello, session: object): Promise<number> {
  const now = await tx.db
    .selectFrom('nodes')
    .select(['connected', 'last_seen_at_ms', 'session_boot_id', 'session_epoch', 'session_replica'])
    .where('id', '=', hello.nodeId)
    .forNoKeyUpdate()
    .executeTakeFirstOrThrow()
  const held = { bootId: now.session_boot_id, connected: now.connected, lastSeenAtMs: now.last_seen_at_ms }
  if (isHeldByOther(held, hello, tx.nowMs) && (await isReplicaAlive(tx.db, now.session_replica)))
    throw new Rollback(nodeIdTaken(hello, now.last_seen_at_ms, tx.nowMs))
  if (isForeign(now.session_boot_id, hello.bootId) && (await mayRun(tx.db, hello.nodeId)))
    throw new Rollback(notItsOwn(hello, now.last_seen_at_ms, tx.nowMs))
  const row = await tx.db
    .updateTable('nodes')
    .set({ ...session, session_epoch: now.session_epoch + 1 })
    .where('id', '=', hello.nodeId)
    .returning('session_epoch')
    .executeTakeFirstOrThrow()
  return row.session_epoch
}

/** Something of the node is alive as far as anybody knows: started by an agent without its journal, it would run twice. */
async function mayRun(db: Db, nodeId: NodeId): Promise<boolean> {
  const row = await db
    .selectFrom('instances')
    .select('id')
    .where('node_id', '=', nodeId)
    .where('deleted_at_ms', 'is', null)
    .where('state', 'not in', UNRESERVED)
    .limit(1)
    .executeTakeFirst()
  return row !== undefined
}

/** Each replica holds the lock of its number for as long as its notification connection lives. */
async function isReplicaAlive(db: Db, replica: number): Promise<boolean> {
  const { rows } = await sql<{
    free: boolean
  }>`select pg_try_advisory_xact_lock(${sql.lit(LOCKS.replica)}, ${replica}::int) as free`.execute(db)
  return rows[0]?.free !== true
}

/**
 * Ignored when a newer session exists. The epoch moves on, so that what was still queued of this session (a heartbeat, an
 * observation) cannot open it again. Also fences a session that was found closed already, which is then no event.
 */
export function closeSession(tx: Tx, nodeId: NodeId, epoch: number): Promise<Result<void, Failure>> {
  return attempt(async () => {
    const now = await tx.db
      .selectFrom('nodes')
      .select('connected')
      .where('id', '=', nodeId)
      .where('session_epoch', '=', epoch)
      .forNoKeyUpdate()
      .executeTakeFirst()
    if (!now) return
    await tx.db
      .updateTable('nodes')
      .set({ connected: false, session_epoch: epoch + 1 })
      .where('id', '=', nodeId)
      .execute()
    if (!now.connected) return
    tx.emit(disconnectedEvent(nodeId, epoch))
    tx.changed({ kind: 'node', id: nodeId })
  })
}

/**
 * Closes the sessions that no one holds any more: silent for SESSION_LIVE_MS (session-fold.ts), or held by a dead replica. For the loop that
 * watches nodes; returns the nodes it closed.
 */
export function expireSessions(tx: Tx): Promise<Result<readonly NodeId[], Failure>> {
  return attempt(async () => {
    const open = await tx.db
      .selectFrom('nodes')
      .select(['id', 'last_seen_at_ms', 'session_epoch', 'session_replica'])
      .where('connected', '=', true)
      .orderBy('id')
      .execute()
    const closed: NodeId[] = []
    const alive = new Map<number, boolean>()
    for (const node of open) {
      const silent = isSilent(node.last_seen_at_ms, tx.nowMs)
      if (!silent && !alive.has(node.session_replica)) alive.set(node.session_replica, await isReplicaAlive(tx.db, node.session_replica))
      if (!silent && alive.get(node.session_replica) === true) continue
      // Conditions again, in the same statement as the write: it may have been heard of meanwhile.
      const row = await tx.db
        .updateTable('nodes')
        .set({ connected: false })
        .where('id', '=', node.id)
        .where('session_epoch', '=', node.session_epoch)
        .where('last_seen_at_ms', '=', node.last_seen_at_ms)
        .where('connected', '=', true)
        .returning('id')
        .executeTakeFirst()
      if (!row) continue
      const nodeId = NodeId.parse(row.id)
      closed.push(nodeId)
      tx.emit(disconnectedEvent(nodeId, node.session_epoch, silent ? 'silent' : 'replica_gone'))
      tx.changed({ kind: 'node', id: nodeId })
    }
    return closed
  })
}

/** One statement for many; returns the nodes whose session is still the newest. A heartbeat of a session found closed opens it again. */
export function recordHeartbeats(db: Db, nowMs: number, beats: readonly Heartbeat[]): Promise<Result<readonly NodeId[], Failure>> {
  return attempt(async () => {
    if (beats.length === 0) return []
    const rows = beats.map((beat) => ({ id: beat.nodeId, epoch: beat.epoch, usage: beat.usage, facts: beat.facts }))
    const updated = await sql<{ id: string }>`
      update nodes set connected = true, last_seen_at_ms = ${nowMs}, usage = beat.usage,
        facts = case when jsonb_typeof(beat.facts) = 'object' then beat.facts else nodes.facts end
      from jsonb_to_recordset(${json(rows)}::jsonb) as beat(id text, epoch bigint, usage jsonb, facts jsonb)
      where nodes.id = beat.id and nodes.session_epoch = beat.epoch
      returning nodes.id
    `.execute(db)
    return updated.rows.map((row) => NodeId.parse(row.id))
  })
}

/** Ordered by id. */
export async function listNodes(db: Db, query: PageQuery): Promise<Result<Page<NodeRecord>, Failure>> {
  const cursor = checkCursor(query.cursor, NODE_ID_PATTERN)
  if (!cursor.ok) return cursor
  return attempt(async () => {
    const all = withLedger(db).orderBy('nodes.id')
    const after = cursor.value === null ? all : all.where('nodes.id', '>', cursor.value)
    return pageOf(await after.limit(query.limit + 1).execute(), query.limit, (row) => row.id, nodeRecord)
  })
}

/** What one organisation has on each node; a node without any of it is not in the map. */
export function nodesOfOrg(
  db: Db,
  orgId: OrgId,
): Promise<Result<ReadonlyMap<string, { readonly instances: number; readonly reservedMemoryBytes: number }>, Failure>> {
  return attempt(async () => {
    const rows = await db
      .selectFrom('instances')
      .where('org_id', '=', orgId)
      .where('node_id', 'is not', null)
      .where('deleted_at_ms', 'is', null)
      .groupBy('node_id')
      .select(['node_id', sql<number | null>`(sum(memory_bytes) filter (where ${RESERVES}))::bigint`.as('reserved')])
      .select(sql<number>`count(*)`.as('instances'))
      .execute()
    return new Map(rows.map((row) => [row.node_id ?? '', { instances: row.instances, reservedMemoryBytes: row.reserved ?? 0 }]))
  })
}

/** All of them, for the scheduler. */
export function allNodes(db: Db): Promise<Result<readonly NodeRecord[], Failure>> {
  return attempt(async () => (await withLedger(db).orderBy('nodes.id').execute()).map(nodeRecord))
}

function withLedger(db: Db) {
  const ledger = db
    .selectFrom('instances')
    .where('node_id', 'is not', null)
    .where('deleted_at_ms', 'is', null)
    .groupBy('node_id')
    .select([
      'node_id',
      sql<number | null>`(sum(memory_bytes) filter (where ${RESERVES}))::bigint`.as('reserved_memory_bytes'),
      sql<number | null>`(sum(cpu_millis) filter (where ${RESERVES}))::bigint`.as('reserved_cpu_millis'),
      sql<number | null>`count(*)`.as('instances'),
    ])
    .as('ledger')
  return db
    .selectFrom('nodes')
    .leftJoin(ledger, 'ledger.node_id', 'nodes.id')
    .selectAll('nodes')
    .select(['ledger.reserved_memory_bytes', 'ledger.reserved_cpu_millis', 'ledger.instances'])
}

/** By id, else unique prefix. Fails with `not_found`, `ambiguous_id`. */
export async function findNode(db: Db, ref: string): Promise<Result<NodeRecord, Failure>> {
  const found = await attempt(async () => {
    const exact = await withLedger(db).where('nodes.id', '=', ref).execute()
    if (exact.length > 0 || !nodeRules(ref).includes('prefix')) return exact.map(nodeRecord)
    return (await withLedger(db).where('nodes.id', '>=', ref).where('nodes.id', '<', `${ref}~`).orderBy('nodes.id').limit(2).execute()).map(
      nodeRecord,
    )
  })
  return found.ok ? theNode(ref, found.value) : found
}

/** By id only. Emits when it changed something. */
export async function setCordon(tx: Tx, nodeId: NodeId, cordoned: boolean): Promise<Result<NodeRecord, Failure>> {
  const changed = await attempt(() =>
    tx.db
      .updateTable('nodes')
      .set({ cordoned })
      .where('id', '=', nodeId)
      .where('cordoned', '<>', cordoned)
      .returning('id')
      .executeTakeFirst(),
  )
  if (!changed.ok) return changed
  if (changed.value) {
    tx.emit({ type: cordoned ? 'node.cordoned' : 'node.uncordoned', nodeId, data: { actor: tx.actor } })
    tx.changed({ kind: 'node', id: nodeId })
  }
  return findNode(tx.db, nodeId)
}
