// A deletion that leaves no evidence on the node.
import { type Kysely, sql } from 'kysely'

export async function up(db: Kysely<unknown>): Promise<void> {
  await sql`alter table instances add column purge boolean not null default false`.execute(db)
}
