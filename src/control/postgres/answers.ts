// The first query to a server that is to be adopted. Its pid file says `ready` for a moment longer than it takes anybody: one that has
// just been told to end refuses new sessions before it writes so.
import pg from 'pg'
import { DATABASE_USER } from './cluster.ts'

const ANSWER_MS = 2000

/** Whether it takes a session and a query now; false for whatever reason, also when it does not answer in time. */
export async function answers(socketDir: string): Promise<boolean> {
  const client = new pg.Client({
    host: socketDir,
    port: 5432,
    database: 'postgres',
    user: DATABASE_USER,
    // What is not given, pg takes from an environment that belongs to somebody else's database.
    password: '',
    ssl: false,
    connectionTimeoutMillis: ANSWER_MS,
    query_timeout: ANSWER_MS,
  })
  // The end of a connection that breaks later; without a listener it would be the end of this process.
  client.on('error', () => undefined)
  try {
    await client.connect()
    await client.query('select 1')
    await client.end()
    return true
  } catch {
    // Not waited for: a server that does not answer may not say farewell either.
    void client.end().catch(() => undefined)
    return false
  }
}
