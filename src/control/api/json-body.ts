// The JSON body parser: strict UTF-8, no empty documents mistaken for broken ones, no keys that reach a prototype, and the one
// character that neither PostgreSQL nor an argument list can hold found by its place.
import { isUtf8 } from 'node:buffer'
import { err, ok, type Result } from '../../base/result.ts'
import { type Failure, failure } from '../../contracts/errors.ts'

const bad = (detail: string, field = 'body') => err(failure('invalid_input', `${field}: ${detail}`, { field }))

/** undefined for an empty body. */
export function parseBody(bytes: Buffer): Result<unknown, Failure> {
  if (bytes.length === 0) return ok(undefined)
  if (!isUtf8(bytes)) return bad('it is not UTF-8')
  const text = bytes.toString('utf8')
  try {
    const value: unknown = JSON.parse(text, (key, item) => {
      if (key === '__proto__') throw new Refused('the key __proto__ is not accepted')
      // Neither UTF-8 nor PostgreSQL has half a character: it would be stored as another one.
      if (!key.isWellFormed() || (typeof item === 'string' && !item.isWellFormed()))
        throw new Refused(`a text holds half of a surrogate pair${key === '' ? '' : `, at ${JSON.stringify(key)}`}`)
      return item
    })
    return ok(value)
  } catch (error) {
    if (error instanceof Refused) return bad(error.message)
    return bad(`it is not valid JSON (${error instanceof Error ? error.message : 'unreadable'})`)
  }
}

class Refused extends Error {}

/** The path of the first text or key with a NUL byte; undefined when there is none. `skip` names top-level fields that may have one. */
export function findNul(value: unknown, skip: ReadonlySet<string>, path: readonly string[] = []): readonly string[] | undefined {
  if (typeof value === 'string') return value.includes('\0') ? path : undefined
  if (typeof value !== 'object' || value === null) return undefined
  for (const [key, item] of Object.entries(value)) {
    if (path.length === 0 && skip.has(key)) continue
    if (key.includes('\0')) return [...path, JSON.stringify(key)]
    const found = findNul(item, skip, [...path, key])
    if (found) return found
  }
  return undefined
}

const USER_DATA = failure('invalid_user_data', 'user_data: must not contain a NUL byte', { field: 'user_data' })

export function refuseNul(body: unknown, skip: ReadonlySet<string>): Failure | undefined {
  const found = findNul(body, skip)
  if (found === undefined) return undefined
  if (found[0] === 'user_data' && found.length === 1) return USER_DATA
  const field = found.join('.') || 'body'
  return failure('invalid_input', `${field}: must not contain a NUL byte`, { field })
}
