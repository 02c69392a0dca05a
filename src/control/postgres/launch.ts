// The embedded PostgreSQL: one private server below the data directory, reached by its unix socket.
import type { Clock, Random } from '../../base/clock.ts'
import type { Logger } from '../../base/log.ts'
import type { Result } from '../../base/result.ts'
import type { Failure } from '../../contracts/errors.ts'

export interface PostgresOptions {
  readonly dataDir: string
  readonly clock: Clock
  readonly random: Random
  readonly log: Logger
}

export interface Postgres {
  /** For `openStore({target})`. */
  readonly target: { readonly host: string; readonly database: string; readonly user: string }
  /** A server that was already running was taken over. */
  readonly adopted: boolean
  /** Of the server now running; changes when it had to be restarted, null while it is down. */
  pid(): number | null
  /** Called each time the server ends without having been asked to; it is started again with backoff. */
  onExit(listener: () => void): void
  stop(): Promise<void>
}

/** Fails with `data_dir_unusable` or `store_unavailable`. Bounded. */
export function startPostgres(_options: PostgresOptions): Promise<Result<Postgres, Failure>> {
  throw new Error('being written')
}
