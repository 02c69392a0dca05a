// Migrations, run by every replica at its start: the first one applies them under a lock, the others wait and find nothing to do.
import { sql } from 'kysely'
import { type Migration, Migrator } from 'kysely/migration'
import pg from 'pg'
import type { Logger } from '../../base/log.ts'
import { err, OK, type Result } from '../../base/result.ts'
import { type Failure, failure } from '../../contracts/errors.ts'
import { attempt, expected } from './attempt.ts'
import type { Db } from './db.ts'
import { up as first } from './migrations/0001-first.ts'
import { up as modes } from './migrations/0002-modes.ts'
import { up as purge } from './migrations/0003-purge.ts'
import { up as verbatimAnswers } from './migrations/0004-verbatim-answers.ts'

/** In order; a list and not a folder listing, so that it is the same in a bundle. */
const MIGRATIONS: Readonly<Record<string, Migration>> = {
  '0001-first': { up: first },
  '0002-modes': { up: modes },
  '0003-purge': { up: purge },
  '0004-verbatim-answers': { up: verbatimAnswers },
}

export async function migrate(db: Db, log: Logger): Promise<Result<void, Failure>> {
  const unknown = await attempt(() => unknownMigrations(db))
  if (!unknown.ok) return unknown
  if (unknown.value.length > 0)
    return err(
      failure('invalid_config', `The database was written by a newer holdfast (${unknown.value.join(', ')}); start that one.`, {
        unknown: unknown.value,
      }),
    )
  const migrator = new Migrator({ db, provider: { getMigrations: async () => ({ ...MIGRATIONS }) } })
  const { error, results } = await migrator.migrateToLatest()
  for (const result of results ?? []) if (result.status === 'Success') log.info('migration applied', { migration: result.migrationName })
  if (error === undefined) return OK
  if (error instanceof pg.DatabaseError && error.code === '42501')
    return err(
      failure(
        'invalid_config',
        'The database user may not create tables; make it the owner of the database.',
        { field: 'HOLDFAST_DATABASE_URL' },
        error,
      ),
    )
  return err(expected(error))
}

/** Applied here by a release that knows more than this one. */
async function unknownMigrations(db: Db): Promise<readonly string[]> {
  const { rows: tables } = await sql<{ there: boolean }>`select to_regclass('kysely_migration') is not null as there`.execute(db)
  if (tables[0]?.there !== true) return []
  const { rows } = await sql<{ name: string }>`select name from kysely_migration order by name`.execute(db)
  return rows.map((row) => row.name).filter((name) => !(name in MIGRATIONS))
}
