// Modes of recovery and health checks for an instance and its env, and who made its newest wish.
import { type Kysely, sql } from 'kysely'

export async function up(db: Kysely<unknown>): Promise<void> {
  await sql`alter table instances
    add column checks_mode text,
    add column env_recovery_mode text,
    add column env_checks_mode text,
    add column wish_generation bigint,
    add column wished_by text`.execute(db)
}
