// What agents report. One transaction per batch, fenced by the session epoch of the node, whose row stays share-locked to the
// commit: a newer session cannot begin in between.
import { sql } from 'kysely'
import { ok, type Result } from '../../base/result.ts'
import type { Observed } from '../../contracts/agent-protocol.ts'
import type { Failure } from '../../contracts/errors.ts'
import type { InstanceId, NodeId } from '../../contracts/ids.ts'
import { OrgId } from '../../contracts/ids.ts'
import { attempt, Rollback } from './attempt.ts'
import type { Tx } from './db.ts'
import { json } from './json.ts'
import { acksOf, type BatchFold, foldBatch, type Stored } from './observed-fold.ts'
import { StateName, Want } from './records.ts'
import { sessionEnded } from './session-fold.ts'

/**
 * Stores one batch: each transition once and in order, the newest phase, one event per new transition. Fenced: fails with
 * `node_id_taken` when `epoch` is not the node's newest session. The acks cover every item, also the ignored ones: of instances
 * that are gone, or on another node by now.
 */
export async function recordObserved(
  tx: Tx,
  nodeId: NodeId,
  epoch: number,
  items: readonly Observed[],
): Promise<Result<readonly { id: InstanceId; seq: number }[], Failure>> {
  const acks = acksOf(items)
  if (items.length === 0) return ok(acks)
  return attempt(async () => {
    const node = await tx.db.selectFrom('nodes').select('session_epoch').where('id', '=', nodeId).forShare().executeTakeFirst()
    if (node?.session_epoch !== epoch) throw new Rollback(sessionEnded(nodeId, epoch))
    const folds = foldBatch(await lock(tx, nodeId, items), nodeId, epoch, items, tx.nowMs)
    if (folds.length > 0) await store(tx, epoch, folds)
    return acks
  })
}

async function lock(tx: Tx, nodeId: NodeId, items: readonly Observed[]): Promise<Map<InstanceId, Stored>> {
  const wanted = new Map(items.map((item) => [String(item.id), item.id]))
  const rows = await tx.db
    .selectFrom('instances')
    .select([
      'id',
      'org_id',
      'name',
      'want',
      'state',
      'observed_generation',
      'observed_epoch',
      'incarnation',
      'last_transition_seq',
      'history_seq',
      'observed',
    ])
    .where('id', '=', sql<string>`any (${[...wanted.keys()]}::text[])`)
    .where('node_id', '=', nodeId)
    .where('deleted_at_ms', 'is', null)
    .orderBy('id')
    .forNoKeyUpdate()
    .execute()
  const stored = new Map<InstanceId, Stored>()
  for (const row of rows) {
    const id = wanted.get(row.id)
    if (id === undefined) continue
    stored.set(id, {
      orgId: OrgId.parse(row.org_id),
      name: row.name,
      want: Want.parse(row.want),
      state: StateName.parse(row.state),
      observedGeneration: row.observed_generation,
      observedEpoch: row.observed_epoch,
      incarnation: row.incarnation,
      lastTransitionSeq: row.last_transition_seq,
      historySeq: row.history_seq,
      observed: row.observed,
    })
  }
  return stored
}

async function store(tx: Tx, epoch: number, folds: readonly BatchFold[]): Promise<void> {
  const rows = folds.map((fold) => ({
    id: fold.id,
    phase: fold.phase,
    state: fold.phase.kind,
    generation: fold.generation,
    incarnation: fold.incarnation,
    observed: fold.rest,
    last_seq: fold.lastTransitionSeq,
    history_seq: fold.historySeq,
    gone: fold.gone,
  }))
  const steps = folds.flatMap(({ id, numbered }) =>
    numbered.map((step) => ({ instance_id: id, seq: step.seq, at_ms: Math.round(step.atMs), body: { ...step, seq: 0 } })),
  )
  await sql`
    update instances set phase = seen.phase, state = seen.state, observed_generation = seen.generation, observed_epoch = ${epoch},
      incarnation = seen.incarnation, observed = seen.observed, last_transition_seq = seen.last_seq, history_seq = seen.history_seq,
      updated_at_ms = ${tx.nowMs}, deleted_at_ms = case when seen.gone then ${tx.nowMs}::bigint end
    from jsonb_to_recordset(${json(rows)}::jsonb) as seen(id text, phase jsonb, state text, generation bigint, incarnation bigint,
      observed jsonb, last_seq bigint, history_seq bigint, gone boolean)
    where instances.id = seen.id
  `.execute(tx.db)
  if (steps.length > 0) {
    await sql`
      insert into transitions (instance_id, seq, at_ms, body)
      select * from jsonb_to_recordset(${json(steps)}::jsonb) as step(instance_id text, seq bigint, at_ms bigint, body jsonb)
    `.execute(tx.db)
    await trimHistory(tx, folds)
  }
  await dropSpentHeals(tx, folds)
  for (const { id, events, notable } of folds) {
    for (const event of events) tx.emit(event)
    if (notable) tx.changed({ kind: 'instance', id })
  }
}

async function trimHistory(tx: Tx, folds: readonly BatchFold[]): Promise<void> {
  const long = folds.filter((fold) => fold.trimUpTo > 0).map((fold) => ({ id: fold.id, upto: fold.trimUpTo }))
  if (long.length === 0) return
  await sql`
    delete from transitions using jsonb_to_recordset(${json(long)}::jsonb) as old(id text, upto bigint)
    where transitions.instance_id = old.id and transitions.seq <= old.upto
  `.execute(tx.db)
}

async function dropSpentHeals(tx: Tx, folds: readonly BatchFold[]): Promise<void> {
  const running = folds.filter((fold) => fold.endsSpentHeal).map((fold) => fold.id)
  if (running.length === 0) return
  await tx.db.deleteFrom('heals').where('instance_id', '=', sql<string>`any (${running}::text[])`).where('given_up', '=', true).execute()
}
