// Failures as RFC 9457 problem documents, and what Fastify and zod refuse as failures.
import type { z } from 'zod'
import { errnoOf } from '../../base/errno.ts'
import { withName } from '../../contracts/commands-in-words.ts'
import { ERRORS, type Failure, failure, HoldfastError, RUNBOOK_BASE } from '../../contracts/errors.ts'
import type { Problem } from '../../contracts/views.ts'

export const PROBLEM_TYPE = 'application/problem+json'

/** Members of the document that a field of the failure must not overwrite. */
const RESERVED: ReadonlySet<string> = new Set(['type', 'title', 'status', 'detail', 'code', 'hint', 'retryable', 'request_id', 'cause'])

/** `about`: the instance that was asked for, whose name the next commands take. */
export function problemOf(given: Failure, requestId: string, about?: string): Problem {
  const row = ERRORS[given.code]
  const fields = Object.fromEntries(Object.entries(given.fields ?? {}).filter(([key]) => !RESERVED.has(key)))
  return {
    type: `${RUNBOOK_BASE}${given.code}`,
    title: row.message,
    status: row.http,
    detail: given.detail,
    code: given.code,
    hint: about === undefined ? row.next : withName(row.next, about),
    retryable: row.retry !== 'never',
    request_id: requestId,
    ...fields,
  }
}

type Issue = z.core.$ZodIssue

/** The most telling issue: one alternative of a union that got further than the type of the value, else the first. */
function deepest(issue: Issue): { path: readonly PropertyKey[]; message: string } {
  if (issue.code === 'unrecognized_keys') return { path: [...issue.path, issue.keys[0] ?? ''], message: 'unknown field' }
  if (issue.code === 'invalid_key') return { path: issue.path, message: issue.issues[0]?.message ?? issue.message }
  if (issue.code === 'invalid_union') {
    const inner = issue.errors.flat()
    const best = inner.find((one) => one.code !== 'invalid_type') ?? inner[0]
    // A discriminated union whose discriminator matches nothing has no alternatives to show.
    if (best === undefined) return { path: issue.path, message: 'is not one of the known kinds' }
    const found = deepest(best)
    return { path: [...issue.path, ...found.path], message: found.message }
  }
  return { path: issue.path, message: issue.message }
}

/** Bad input, named by its first wrong field; `errors` holds the others too. */
export function invalidInput(where: 'body' | 'query' | 'path', issues: readonly Issue[]): Failure {
  const found = issues.slice(0, 20).map((issue) => {
    const { path, message } = deepest(issue)
    return { field: path.map(String).join('.') || where, message }
  })
  const first = found[0] ?? { field: where, message: 'is not valid' }
  return failure('invalid_input', `${first.field}: ${first.message}`, {
    field: first.field,
    ...(found.length > 1 && { errors: found.map((one) => `${one.field}: ${one.message}`) }),
  })
}

/** What a handler, a hook or Fastify threw. An unexpected error is a bug: its text stays in the log. */
export function failureOf(error: unknown): Failure {
  if (error instanceof HoldfastError) return error.failure
  const code = errnoOf(error) ?? ''
  const known = FASTIFY[code]
  if (known) return known(error)
  return failure('internal', 'The request could not be handled; the log has the cause under its request id.', undefined, error)
}

const bad = (detail: string) => (cause: unknown) => failure('invalid_input', detail, { field: 'body' }, cause)
const FASTIFY: Readonly<Record<string, (error: unknown) => Failure>> = {
  FST_ERR_CTP_BODY_TOO_LARGE: (cause) => failure('body_too_large', 'The body is larger than this request may be.', undefined, cause),
  FST_ERR_CTP_INVALID_MEDIA_TYPE: bad('body: send it as application/json'),
  FST_ERR_CTP_INVALID_CONTENT_LENGTH: bad('body: it does not have the length that Content-Length says'),
  FST_ERR_CTP_INVALID_JSON_BODY: bad('body: it is not valid JSON'),
  // The client hung up in the middle of its body: nobody will read this.
  ECONNRESET: (cause) => failure('cancelled', 'The request was cut off before its end.', undefined, cause),
  ERR_STREAM_PREMATURE_CLOSE: (cause) => failure('cancelled', 'The request was cut off before its end.', undefined, cause),
  FST_ERR_BAD_URL: (cause) => failure('invalid_input', 'The path is not a valid URL.', { field: 'path' }, cause),
}
