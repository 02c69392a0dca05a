// Steps through the state machine that the control plane itself takes (pending, placed, lost, deleted while unplaced): the same
// history and the same event as for those that agents report.
import { sql } from 'kysely'
import type { Phase } from '../../contracts/phase.ts'
import type { InstanceRecord } from '../model/instance.ts'
import type { Tx } from './db.ts'
import { json } from './json.ts'

export const HISTORY_MAX = 200

/** `now` is the instance before the step, which the caller writes. */
export async function recordStep(tx: Tx, now: InstanceRecord, to: Phase): Promise<void> {
  const step = { seq: 0, atMs: tx.nowMs, from: now.phase.kind, to, incarnation: now.incarnation, exit: null }
  await sql`
    with next as (update instances set history_seq = history_seq + 1 where id = ${now.id} returning history_seq)
    insert into transitions (instance_id, seq, at_ms, body) select ${now.id}, history_seq, ${tx.nowMs}, ${json(step)}::jsonb from next
  `.execute(tx.db)
  tx.emit({
    type: 'instance.state_changed',
    orgId: now.orgId,
    instanceId: now.id,
    nodeId: now.nodeId,
    data: stateChange(now.phase.kind, to, now.incarnation, tx.nowMs, null),
  })
}

/** The data of `instance.state_changed`. */
export function stateChange(
  from: string | null,
  to: Phase,
  incarnation: number,
  atMs: number,
  exit: object | null,
): Record<string, unknown> {
  return {
    from,
    to: to.kind,
    reason: to.reason,
    incarnation,
    observed_at_ms: atMs,
    ...(to.attempt > 0 && { attempt: to.attempt }),
    ...(to.lastError && { error: { code: to.lastError.code, detail: to.lastError.detail } }),
    ...(exit && { exit }),
  }
}
