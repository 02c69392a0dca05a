// Writes what a fold says of one instance, whose row the caller has locked.
import { sql } from 'kysely'
import type { InstanceRecord } from '../model/instance.ts'
import type { Tx } from './db.ts'
import { changedColumns } from './instance-columns.ts'
import type { InstanceFold } from './instance-fold.ts'
import { json } from './json.ts'
import { INSTANCE_COLUMNS, instanceRecord } from './records.ts'

/** `now` is the instance before. Returns it as it is stored. */
export async function applyFold(tx: Tx, now: InstanceRecord, fold: InstanceFold): Promise<InstanceRecord> {
  const row = await tx.db
    .updateTable('instances')
    .set({ ...changedColumns(now, fold.after), ...(fold.left && { observed_epoch: 0 }) })
    .where('id', '=', now.id)
    .returning(INSTANCE_COLUMNS)
    .executeTakeFirstOrThrow()
  if (fold.step) {
    const body = { seq: 0, ...fold.step }
    await sql`
      with next as (update instances set history_seq = history_seq + 1 where id = ${now.id} returning history_seq)
      insert into transitions (instance_id, seq, at_ms, body) select ${now.id}, history_seq, ${fold.step.atMs}, ${json(body)}::jsonb from next
    `.execute(tx.db)
  }
  for (const event of fold.events) tx.emit(event)
  tx.changed({ kind: 'instance', id: now.id })
  return instanceRecord(row)
}
