// What agents report. One transaction per batch, fenced by the session epoch of the node, whose row stays share-locked to the
// commit: a newer session cannot begin in between.
import { sql } from 'kysely'
import { ok, type Result } from '../../base/result.ts'
import type { Observed } from '../../contracts/agent-protocol.ts'
import { type Failure, failure } from '../../contracts/errors.ts'
import type { InstanceId, NodeId } from '../../contracts/ids.ts'
import { OrgId } from '../../contracts/ids.ts'
import { attempt, Rollback } from './attempt.ts'
import type { Tx } from './db.ts'
import { json } from './json.ts'
import { type Fold, foldObserved, type Known } from './observed-fold.ts'
import { StateName, Want } from './records.ts'
import { HISTORY_MAX, stateChange } from './steps.ts'

interface Stored extends Known {
  readonly orgId: OrgId
  readonly name: string
  readonly historySeq: number
}

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
  const acks = items.map((item) => ({ id: item.id, seq: item.transitions.reduce((max, step) => Math.max(max, step.seq), 0) }))
  if (items.length === 0) return ok(acks)
  return attempt(async () => {
    const node = await tx.db.selectFrom('nodes').select('session_epoch').where('id', '=', nodeId).forShare().executeTakeFirst()
    if (node?.session_epoch !== epoch)
      throw new Rollback(
        failure('node_id_taken', `The session ${epoch} of ${nodeId} has ended; a newer one took its place.`, { node_id: nodeId }),
      )
    const stored = await lock(tx, nodeId, items)
    const folds = new Map<InstanceId, readonly [Stored, Fold]>()
    for (const item of items) {
      const known = stored.get(item.id)
      if (!known) continue
      const fold = foldObserved(known, item, epoch, tx.nowMs)
      if (!fold) continue
      // The same instance twice in a batch: the second one is folded onto the first.
      stored.set(item.id, advance(known, fold, epoch))
      folds.set(item.id, merge(folds.get(item.id), known, fold))
    }
    if (folds.size > 0) await store(tx, nodeId, epoch, folds)
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

function advance(known: Stored, fold: Fold, epoch: number): Stored {
  return {
    ...known,
    state: fold.phase.kind,
    observedGeneration: fold.generation,
    observedEpoch: epoch,
    incarnation: fold.incarnation,
    lastTransitionSeq: fold.lastTransitionSeq,
    observed: fold.rest,
  }
}

function merge(before: readonly [Stored, Fold] | undefined, known: Stored, fold: Fold): readonly [Stored, Fold] {
  if (!before) return [known, fold]
  const [first, earlier] = before
  return [
    first,
    { ...fold, steps: [...earlier.steps, ...fold.steps], notable: earlier.notable || fold.notable, gone: earlier.gone || fold.gone },
  ]
}

async function store(tx: Tx, nodeId: NodeId, epoch: number, folds: ReadonlyMap<InstanceId, readonly [Stored, Fold]>): Promise<void> {
  const rows = [...folds].map(([id, [known, fold]]) => ({
    id,
    phase: fold.phase,
    state: fold.phase.kind,
    generation: fold.generation,
    incarnation: fold.incarnation,
    observed: fold.rest,
    last_seq: fold.lastTransitionSeq,
    history_seq: known.historySeq + fold.steps.length,
    gone: fold.gone,
  }))
  const steps = [...folds].flatMap(([id, [known, fold]]) =>
    fold.steps.map((step, index) => ({
      instance_id: id,
      seq: known.historySeq + index + 1,
      at_ms: Math.round(step.atMs),
      body: { ...step, seq: 0 },
    })),
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
    await trimHistory(tx, rows)
  }
  await dropSpentHeals(tx, rows)
  for (const [id, [known, fold]] of folds) announce(tx, nodeId, id, known, fold)
}

async function trimHistory(tx: Tx, rows: readonly { readonly id: InstanceId; readonly history_seq: number }[]): Promise<void> {
  const long = rows.filter((row) => row.history_seq > HISTORY_MAX).map((row) => ({ id: row.id, upto: row.history_seq - HISTORY_MAX }))
  if (long.length === 0) return
  await sql`
    delete from transitions using jsonb_to_recordset(${json(long)}::jsonb) as old(id text, upto bigint)
    where transitions.instance_id = old.id and transitions.seq <= old.upto
  `.execute(tx.db)
}

/** The healer gave up on it, and it runs after all: a later failure is a new one, with a new budget. */
async function dropSpentHeals(tx: Tx, rows: readonly { readonly id: InstanceId; readonly state: string }[]): Promise<void> {
  const running = rows.filter((row) => row.state === 'running').map((row) => row.id)
  if (running.length === 0) return
  await tx.db.deleteFrom('heals').where('instance_id', '=', sql<string>`any (${running}::text[])`).where('given_up', '=', true).execute()
}

function announce(tx: Tx, nodeId: NodeId, id: InstanceId, known: Stored, fold: Fold): void {
  const about = { orgId: known.orgId, instanceId: id, nodeId }
  for (const step of fold.steps)
    tx.emit({ type: 'instance.state_changed', ...about, data: stateChange(step.from, step.to, step.incarnation, step.atMs, step.exit) })
  if (fold.gone) tx.emit({ type: 'instance.deleted', ...about, data: { name: known.name } })
  if (fold.notable) tx.changed({ kind: 'instance', id })
}
