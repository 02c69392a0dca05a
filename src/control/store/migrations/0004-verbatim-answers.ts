// A replayed answer is the first one, byte for byte: jsonb keeps neither the order of members nor every character, json keeps the text.
import { type Kysely, sql } from 'kysely'

export async function up(db: Kysely<unknown>): Promise<void> {
  await sql`alter table idempotency alter column body type json using body::json`.execute(db)
}
