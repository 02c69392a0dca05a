// Migrations, run by every replica at its start: the first one applies them under a lock, the others wait and find nothing to do.
import { type Migration, Migrator } from 'kysely/migration'
import type { Logger } from '../../base/log.ts'
import { err, OK, type Result } from '../../base/result.ts'
import type { Failure } from '../../contracts/errors.ts'
import { expected } from './attempt.ts'
import type { Db } from './db.ts'
import { up as first } from './migrations/0001-first.ts'

/** In order; a list and not a folder listing, so that it is the same in a bundle. */
const MIGRATIONS: Readonly<Record<string, Migration>> = { '0001-first': { up: first } }

export async function migrate(db: Db, log: Logger): Promise<Result<void, Failure>> {
  const migrator = new Migrator({ db, provider: { getMigrations: async () => ({ ...MIGRATIONS }) } })
  const { error, results } = await migrator.migrateToLatest()
  for (const result of results ?? []) if (result.status === 'Success') log.info('migration applied', { migration: result.migrationName })
  return error === undefined ? OK : err(expected(error))
}
