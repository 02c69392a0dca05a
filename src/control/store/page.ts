// Keyset pages: one row more than asked tells whether there is a next page; the cursor is the key of the last row shown.
import { err, ok, type Result } from '../../base/result.ts'
import { type Failure, failure } from '../../contracts/errors.ts'

export interface Page<T> {
  readonly items: readonly T[]
  readonly nextCursor: string | null
}

export interface PageQuery {
  readonly limit: number
  readonly cursor?: string
}

export function pageOf<Row, T>(rows: readonly Row[], limit: number, keyOf: (row: Row) => string, record: (row: Row) => T): Page<T> {
  const shown = rows.slice(0, limit)
  const last = shown.at(-1)
  return { items: shown.map(record), nextCursor: rows.length > limit && last !== undefined ? keyOf(last) : null }
}

export function checkCursor(cursor: string | undefined, pattern: RegExp): Result<string | null, Failure> {
  if (cursor === undefined) return ok(null)
  if (pattern.test(cursor)) return ok(cursor)
  return err(failure('invalid_input', 'cursor: not one that this list gave out', { field: 'cursor' }))
}
