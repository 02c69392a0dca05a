// The reservation ledger of a node: what the instances placed there may use. Those that neither run nor shall run count nothing.
import { type RawBuilder, sql } from 'kysely'
import type { NodeId } from '../../contracts/ids.ts'
import type { Db } from './db.ts'
import { type Ledger, UNRESERVED } from './placement-fold.ts'

/** Of columns of `instances`; needs `deleted_at_ms is null` beside it. */
export const RESERVES: RawBuilder<boolean> = sql`(
  (want in ('running', 'paused') and state <> 'completed')
  or state not in (${sql.join(UNRESERVED.map((state) => sql.lit(state)))})
)`

/** The caller holds the row lock of the node. */
export async function ledgerOf(db: Db, nodeId: NodeId): Promise<Ledger> {
  const { rows } = await sql<{ allocatable: number; reserved: number }>`
    select (facts ->> 'allocatableMemoryBytes')::float8 as allocatable, (
      select coalesce(sum(memory_bytes), 0)::bigint from instances where node_id = ${nodeId} and deleted_at_ms is null and ${RESERVES}
    ) as reserved
    from nodes where id = ${nodeId}
  `.execute(db)
  return { allocatableMemoryBytes: rows[0]?.allocatable ?? 0, reservedMemoryBytes: rows[0]?.reserved ?? 0 }
}
