// Foreign answers to our failures: what fetch throws, and what a server answers that is not 2xx.
import { ERRORS, type ErrorCode, type Failure, failure } from '../contracts/errors.ts'
import { Problem } from '../contracts/views.ts'

const isCode = (text: string): text is ErrorCode => Object.hasOwn(ERRORS, text)

/** Members of a problem that a Failure has in another place, or that its code already says. */
const OWN: ReadonlySet<string> = new Set(['type', 'title', 'status', 'detail', 'code', 'hint', 'retryable'])

function fieldsOf(problem: Problem): NonNullable<Failure['fields']> {
  const fields: Record<string, string | number | boolean | readonly string[]> = {}
  for (const [key, value] of Object.entries(problem)) {
    if (OWN.has(key)) continue
    if (typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean') fields[key] = value
    else if (Array.isArray(value) && value.every((item) => typeof item === 'string')) fields[key] = value
  }
  return fields
}

export function problemToFailure(problem: Problem): Failure {
  if (isCode(problem.code)) return failure(problem.code, problem.detail, fieldsOf(problem))
  return failure('internal', `The server answered ${problem.status} ${problem.code}: ${problem.detail}`, fieldsOf(problem))
}

/** An answer that is not 2xx. */
export function answerToFailure(status: number, contentType: string | null, text: string, url: string): Failure {
  const problem = contentType?.includes('application/problem+json') ? Problem.safeParse(parseJson(text)) : undefined
  if (problem?.success) return problemToFailure(problem.data)
  const detail = `${url} answered ${status} without saying why: is that a Holdfast server?`
  return failure(status >= 500 ? 'control_unreachable' : 'internal', detail, { status })
}

export function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

/** The errno or library code of what fetch threw; `fetch failed` keeps it in its cause, and that in one of several. */
export function transportCode(error: unknown): string | undefined {
  for (let depth = 0, at = error; depth < 5 && at instanceof Error; depth += 1) {
    if ('code' in at && typeof at.code === 'string') return at.code
    at = at instanceof AggregateError ? at.errors[0] : at.cause
  }
  return undefined
}

export function transportFailure(error: unknown, url: string): Failure {
  const code = transportCode(error)
  const said = code ?? (error instanceof Error ? error.message : 'no answer')
  const detail = code === 'ECONNREFUSED' ? `Nothing listens at ${url}.` : `${url} does not answer (${said}).`
  return failure('control_unreachable', detail, { url, ...(code !== undefined && { cause_code: code }) }, error)
}

/** Nothing was sent, because nobody took the connection: only a restart under way can mend that soon. */
export const isRefused = (given: Failure): boolean => given.code === 'control_unreachable' && NOBODY.has(given.fields?.cause_code)

const NOBODY: ReadonlySet<unknown> = new Set(['ECONNREFUSED', 'ENOTFOUND', 'EHOSTUNREACH', 'ENETUNREACH'])
