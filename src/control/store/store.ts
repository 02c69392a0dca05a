// openStore: the pool, the migrations, transactions, notifications and singleton leases in one object. The queries are plain
// functions in the files beside this one: they take `store.db` to read and a Tx to write. Loops, link and verbs see only a
// StoreAccess, which this is.
import { sql } from 'kysely'
import pg from 'pg'
import { assert } from '../../base/assert.ts'
import type { Clock, Random } from '../../base/clock.ts'
import { durationText } from '../../base/duration-text.ts'
import type { Logger } from '../../base/log.ts'
import { err, OK, ok, type Result } from '../../base/result.ts'
import { DEFAULT_CONFIG } from '../../contracts/config.ts'
import { type Failure, failure } from '../../contracts/errors.ts'
import type { Actor } from '../model/actor.ts'
import type { StoreAccess } from './access.ts'
import { attempt } from './attempt.ts'
import { type BoundTx, readsOf, writesOf } from './bound.ts'
import type { Db } from './db.ts'
import { claimHeals } from './heals.ts'
import { acquireLease, type Lease } from './lease.ts'
import { migrate } from './migrate.ts'
import { keysOf } from './mutate.ts'
import { type Mutation, type MutationReply, type Reply, runMutation } from './mutation.ts'
import { recordHeartbeats } from './nodes.ts'
import { openNotifications } from './notifications.ts'
import { clientConfig, openPool, type Pool, SHORT, STORE_LIMITS, type StoreTarget } from './pool.ts'
import { write } from './transaction.ts'

export interface StoreOptions {
  readonly target: StoreTarget
  readonly log: Logger
  readonly clock: Clock
  readonly random: Random
  /** Connections of the pool; one more is used for notifications and one for each held lease. */
  readonly connectionsMax?: number
  /** How long an Idempotency-Key is answered with its first answer. */
  readonly keysKeptMs?: number
}

export interface Store extends StoreAccess {
  readonly db: Db
  mutate(mutation: Mutation, run: (tx: BoundTx) => Promise<Result<MutationReply, Failure>>): Promise<Result<Reply, Failure>>
  write<T>(actor: Actor, run: (tx: BoundTx) => Promise<Result<T, Failure>>): Promise<Result<T, Failure>>
  /** ok when the database answers; bounded. */
  health(): Promise<Result<{ version: string; latencyMs: number }, Failure>>
  /** Null, or why the database answers and yet takes no records: its disk is full. Asked anew each time, so it ends by itself. Bounded. */
  blocked(): Promise<Failure | null>
  close(): Promise<void>
}

const VERSION_MIN = 150_000

/** Connects, checks the server, migrates. Fails with `store_unavailable`, or `invalid_config` for a server that cannot serve. */
export async function openStore(options: StoreOptions): Promise<Result<Store, Failure>> {
  const { target, log, clock, random } = options
  const prepared = await prepare(target, log)
  if (!prepared.ok) return prepared
  const config = clientConfig(target, SHORT)
  const pool = openPool(config, options.connectionsMax ?? DEFAULT_CONFIG.store.connectionsMax, log)
  const replica = 1 + Math.floor(random.fraction() * 0x7f_ff_ff_fe)
  const notifications = await openNotifications({ config, replica, clock, random, log })
  const closing = new AbortController()
  const asked = new Set<Promise<unknown>>()
  const leases = new Set<Lease>()
  const deps = { db: pool.db, clock }
  const keys = keysOf(options.keysKeptMs ?? DEFAULT_CONFIG.store.retention.keysMs)
  const bound: Store['write'] = (actor, run) => write(deps, actor, (tx) => run(writesOf(tx)))
  return ok({
    db: pool.db,
    replica,
    read: readsOf(pool.db),
    mutate: (mutation, run) => runMutation(bound, keys, mutation, run),
    write: bound,
    claimHeals: (given) => claimHeals(pool.db, given),
    recordHeartbeats: (nowMs, beats) => recordHeartbeats(pool.db, nowMs, beats),
    listen: notifications.listen,
    lease: async (name, signal) => {
      const asking = acquireLease({ config, clock }, name, AbortSignal.any([signal, closing.signal]))
      asked.add(asking)
      const lease = await asking.finally(() => asked.delete(asking))
      if (lease.ok) {
        leases.add(lease.value)
        lease.value.signal.addEventListener('abort', () => leases.delete(lease.value), { once: true })
      }
      return lease
    },
    health: () => health(pool.db, clock),
    blocked: () => blocked(pool),
    close: async () => {
      closing.abort()
      await Promise.all(asked)
      await Promise.all([...leases].map((lease) => lease.release()))
      await notifications.close()
      await pool.close()
    },
  })
}

/** On a pool of one connection with long timeouts, which is closed again. */
async function prepare(target: StoreTarget, log: Logger): Promise<Result<void, Failure>> {
  const limits = { statementMs: STORE_LIMITS.migrationTimeoutMs, queryMs: STORE_LIMITS.migrationTimeoutMs }
  const config = parseConfig(target, limits)
  if (!config.ok) return config
  const pool = openPool({ ...config.value, lock_timeout: STORE_LIMITS.migrationTimeoutMs }, 1, log)
  try {
    const suitable = await checkServer(pool.db)
    return suitable.ok ? await migrate(pool.db, log) : err(explainRefusal(suitable.error))
  } finally {
    await pool.close()
  }
}

function parseConfig(target: StoreTarget, limits: { statementMs: number; queryMs: number }): Result<pg.ClientConfig, Failure> {
  const config = clientConfig(target, limits)
  try {
    // Parses the URL; connects to nothing.
    void new pg.Client(config)
    return ok(config)
  } catch (error) {
    return err(failure('invalid_config', 'HOLDFAST_DATABASE_URL is not a PostgreSQL URL.', { field: 'HOLDFAST_DATABASE_URL' }, error))
  }
}

/** At the start, a login or a database that is refused is a matter of the configuration; later it is an outage like any other. */
function explainRefusal(given: Failure): Failure {
  const state = given.fields?.cause
  if (typeof state !== 'string' || !/^(28|3D)/.test(state)) return given
  const detail = `The database does not exist or refuses the login (SQLSTATE ${state}); check HOLDFAST_DATABASE_URL.`
  return failure('invalid_config', detail, { field: 'HOLDFAST_DATABASE_URL', sqlstate: state }, given.cause)
}

async function checkServer(db: Db): Promise<Result<void, Failure>> {
  const found = await ask(db)
  if (!found.ok) return found
  const { number, version, encoding } = found.value
  if (number < VERSION_MIN)
    return err(failure('invalid_config', `The database is PostgreSQL ${version}; 15 or newer is needed.`, { version }))
  if (encoding !== 'UTF8')
    return err(failure('invalid_config', `The database is encoded in ${encoding}; create it with encoding UTF8.`, { encoding }))
  return OK
}

interface ServerFacts {
  readonly number: number
  readonly version: string
  readonly encoding: string
}

function ask(db: Db): Promise<Result<ServerFacts, Failure>> {
  return attempt(async () => {
    const { rows } = await sql<ServerFacts>`
      select current_setting('server_version_num')::int as number, current_setting('server_version') as version,
        current_setting('server_encoding') as encoding
    `.execute(db)
    const facts = rows[0]
    assert(facts !== undefined, 'current_setting gave no row')
    return facts
  })
}

/** A table of its own grows a file, which is what a full disk refuses; it is gone with the transaction. */
async function blocked(pool: Pool): Promise<Failure | null> {
  if (!pool.noRoom) return null
  const tried = await attempt(() =>
    pool.db.transaction().execute((db) => sql`create temporary table holdfast_room on commit drop as select 1 as one`.execute(db)),
  )
  if (!tried.ok) return tried.error
  pool.noRoom = false
  return null
}

async function health(db: Db, clock: Clock): Promise<Result<{ version: string; latencyMs: number }, Failure>> {
  const startMs = clock.elapsedMs()
  const late = new AbortController()
  const timeout = clock.sleep(STORE_LIMITS.healthTimeoutMs, late.signal).then(
    () => err(failure('store_unavailable', `No answer within ${durationText(STORE_LIMITS.healthTimeoutMs)}.`)),
    () => err(failure('store_unavailable', 'Cancelled.')),
  )
  const answer = await Promise.race([ask(db), timeout])
  late.abort()
  return answer.ok ? ok({ version: answer.value.version, latencyMs: clock.elapsedMs() - startMs }) : answer
}
