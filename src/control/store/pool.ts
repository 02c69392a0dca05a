// Connections. Everything the connection itself throws leaves here as ConnectionLost, so that nobody has to read error texts;
// errors of the server (with their SQLSTATE) pass unchanged.
import { Kysely, type PostgresCursor, PostgresDialect, type PostgresPool, type PostgresPoolClient, type PostgresQueryResult } from 'kysely'
import pg from 'pg'
import type { Logger } from '../../base/log.ts'
import { ConnectionLost, codeOf, isNoRoom } from './attempt.ts'
import type { Db } from './db.ts'
import type { Schema } from './schema.ts'

/** Either a connection URL, or where a local server's socket is. */
export type StoreTarget = { readonly url: string } | { readonly host: string; readonly database: string; readonly user: string }

export const STORE_LIMITS = {
  connectTimeoutMs: 2000,
  statementTimeoutMs: 10_000,
  lockTimeoutMs: 8000,
  idleInTransactionMs: 30_000,
  /** The server's own timeouts come first; this one is for a server that no longer answers at all. */
  queryTimeoutMs: 15_000,
  migrationTimeoutMs: 600_000,
  healthTimeoutMs: 2000,
  idleMs: 30_000,
} as const

const INT8 = 20
/** Our 64-bit columns are counters and Unix milliseconds: all far below 2^53. */
const types: pg.CustomTypesConfig = {
  getTypeParser: (oid: number, format?: 'text' | 'binary') =>
    oid === INT8 ? Number : pg.types.getTypeParser(oid, format === 'binary' ? 'text' : format),
}

export function clientConfig(target: StoreTarget, limits: { statementMs: number; queryMs: number }): pg.ClientConfig {
  // All of it is given: what is missing, pg takes from PGPORT, PGPASSWORD and PGSSLMODE, which belong to somebody else's database.
  const where =
    'url' in target
      ? { connectionString: target.url }
      : { host: target.host, port: 5432, database: target.database, user: target.user, password: '', ssl: false }
  return {
    ...where,
    application_name: 'holdfast',
    connectionTimeoutMillis: STORE_LIMITS.connectTimeoutMs,
    statement_timeout: limits.statementMs,
    lock_timeout: Math.min(limits.statementMs, STORE_LIMITS.lockTimeoutMs),
    idle_in_transaction_session_timeout: STORE_LIMITS.idleInTransactionMs,
    query_timeout: limits.queryMs,
    keepAlive: true,
    types,
  }
}

export const SHORT = { statementMs: STORE_LIMITS.statementTimeoutMs, queryMs: STORE_LIMITS.queryTimeoutMs }

/** `close` refuses new work at once and waits for connections that are in use. */
export interface Pool {
  readonly db: Db
  /** A statement was refused because the disk of the server is full; stays so until set back. */
  noRoom: boolean
  close(): Promise<void>
}

export function openPool(config: pg.ClientConfig, connectionsMax: number, log: Logger): Pool {
  const pool = new pg.Pool({ ...config, max: connectionsMax, idleTimeoutMillis: STORE_LIMITS.idleMs, allowExitOnIdle: false })
  // Without a listener an idle connection that breaks would end the process. The next query finds out by itself.
  pool.on('error', (error) => log.debug('store connection lost', { error_code: codeOf(error) }))
  // Heard from the first moment on: a server that dies just then sends its farewell in one piece with its welcome, before anybody who
  // asked for the connection has got it.
  pool.on('connect', (client) => client.on('error', (error) => log.debug('store connection lost', { error_code: codeOf(error) })))
  const wrapped = new WrappedPool(pool)
  const db = new Kysely<Schema>({ dialect: new PostgresDialect({ pool: wrapped }) })
  return {
    db,
    get noRoom() {
      return wrapped.noRoom
    },
    set noRoom(is) {
      wrapped.noRoom = is
    },
    close: async () => {
      wrapped.closing = true
      await db.destroy()
    },
  }
}

class WrappedPool implements PostgresPool {
  readonly options: object
  readonly #pool: pg.Pool
  /** Kysely keeps its state per client object, so one wrapper per client. */
  readonly #clients = new WeakMap<pg.PoolClient, WrappedClient>()
  closing = false
  noRoom = false

  constructor(pool: pg.Pool) {
    this.#pool = pool
    this.options = pool.options
  }

  async connect(): Promise<PostgresPoolClient> {
    if (this.closing) throw new ConnectionLost(null, true)
    const client = await this.#pool.connect().catch((error: unknown) => {
      throw new ConnectionLost(error, this.closing)
    })
    const known = this.#clients.get(client)
    if (known) return known.take(client)
    const made = new WrappedClient(client, () => {
      this.noRoom = true
    })
    this.#clients.set(client, made)
    return made
  }

  end(): Promise<void> {
    return this.#pool.end()
  }
}

class WrappedClient implements PostgresPoolClient {
  #client: pg.PoolClient
  #broken = false
  readonly #onNoRoom: () => void

  constructor(client: pg.PoolClient, onNoRoom: () => void) {
    this.#client = client
    this.#onNoRoom = onNoRoom
    // A connection in use reports its end to the query, and here as well; unheard, that would end the process.
    client.on('error', () => {
      this.#broken = true
    })
  }

  take(client: pg.PoolClient): WrappedClient {
    this.#client = client
    return this
  }

  query<R>(sql: string, parameters: ReadonlyArray<unknown>): Promise<PostgresQueryResult<R>>
  query<R>(cursor: PostgresCursor<R>): PostgresCursor<R>
  query(given: string | PostgresCursor<unknown>, parameters: ReadonlyArray<unknown> = []): unknown {
    if (typeof given !== 'string') throw new Error('bug in holdfast: cursors are not used')
    return this.#run(given, [...parameters])
  }

  async #run(text: string, parameters: unknown[]): Promise<unknown> {
    try {
      return await this.#client.query(text, parameters)
    } catch (error) {
      if (error instanceof pg.DatabaseError) {
        // A FATAL ends the session: 57P01 and its like.
        if (error.severity === 'FATAL') this.#broken = true
        if (isNoRoom(error)) this.#onNoRoom()
        throw error
      }
      // A TypeError or RangeError is a parameter of ours that cannot be sent; the rest is the connection.
      if (error instanceof TypeError || error instanceof RangeError) throw error
      this.#broken = true
      throw new ConnectionLost(error)
    }
  }

  release(destroy?: boolean): void {
    this.#client.release(destroy === true || this.#broken)
  }
}
