// The one place where errors of PostgreSQL become ours. By SQLSTATE when the server answered, by who threw when it did not: what
// the connection itself throws arrives wrapped in ConnectionLost (pool.ts). Anything else is a bug of ours and goes on flying.
import pg from 'pg'
import { errnoOf } from '../../base/errno.ts'
import { err, ok, type Result } from '../../base/result.ts'
import { type Failure, failure } from '../../contracts/errors.ts'

/** The connection could not be had or broke; thrown by the pool only. */
export class ConnectionLost extends Error {
  readonly closing: boolean
  constructor(cause: unknown, closing = false) {
    super('the connection to the database is lost', { cause })
    this.name = 'ConnectionLost'
    this.closing = closing
  }
}

/** Carries an expected failure out of a transaction, so that it rolls back. */
export class Rollback extends Error {
  readonly failure: Failure
  constructor(given: Failure) {
    super('rolled back')
    this.name = 'Rollback'
    this.failure = given
  }
}

/** Runs queries; expected failures come back as values. */
export async function attempt<T>(run: () => Promise<T>): Promise<Result<T, Failure>> {
  try {
    return ok(await run())
  } catch (error) {
    return err(expected(error))
  }
}

/** The failure that a foreign error stands for; throws it again when it is none. */
export function expected(error: unknown): Failure {
  if (error instanceof Rollback) return error.failure
  if (error instanceof ConnectionLost) {
    if (error.closing) return failure('shutting_down', 'The store is being closed.')
    const code = codeOf(error.cause)
    return failure('store_unavailable', `No connection to the database${code === '' ? '' : ` (${code})`}.`, { cause: code }, error)
  }
  const state = sqlState(error)
  if (state !== null && UNAVAILABLE.test(state)) {
    const why = state === NO_ROOM ? 'PostgreSQL has no room left on its disk' : 'PostgreSQL refused'
    return failure('store_unavailable', `${why} (SQLSTATE ${state}).`, { sqlstate: state }, error)
  }
  throw error
}

const NO_ROOM = '53100'
/** The disk of the server is full: it answers what it is asked, and takes no records. */
export const isNoRoom = (error: unknown): boolean => sqlState(error) === NO_ROOM

// 08 connection, 25006 read-only (a demoted primary), 40001 and 40P01 lost a race too often, 53 out of memory, disk or connections,
// 55P03 lock timeout, 57 shutdown, start-up or statement timeout, 58 disk errors.
const UNAVAILABLE = /^(08|53|57|58)|^(25006|40001|40P01|55P03)$/

/** Lost a race with another transaction; running it again is the cure. */
export function isRetryable(given: Failure): boolean {
  const state = sqlState(given.cause)
  return state === '40001' || state === '40P01'
}

/** The violated constraint when the error is a unique violation, else null. */
export function uniqueViolation(error: unknown): string | null {
  return error instanceof pg.DatabaseError && error.code === '23505' ? (error.constraint ?? '') : null
}

function sqlState(error: unknown): string | null {
  return error instanceof pg.DatabaseError ? (error.code ?? null) : null
}

/** SQLSTATE or errno; empty when it has neither. */
export const codeOf = (error: unknown): string => errnoOf(error) ?? ''
