// What can go wrong on the way to the engine, decided by errno, undici code and HTTP status, never by text.
import { DeadlineError } from '../../../base/deadline.ts'
import { type ErrorCode, type Failure, failure } from '../../../contracts/errors.ts'

export type EngineFault =
  /** There is no socket, or we may not use it. */
  | { readonly kind: 'absent'; readonly errno: string; readonly socketPath: string; readonly cause: unknown }
  /** Refused, reset, timed out: nothing is known about what it did. */
  | { readonly kind: 'silent'; readonly what: string; readonly cause: unknown }
  /** It answered what no engine answers. */
  | { readonly kind: 'malformed'; readonly what: string; readonly cause: unknown }
  | { readonly kind: 'too-old'; readonly version: string }
  | { readonly kind: 'status'; readonly status: number; readonly message: string }
  /** Our caller gave up. */
  | { readonly kind: 'cancelled' }

const ABSENT = new Set(['ENOENT', 'ENOTDIR', 'EACCES', 'EPERM', 'ENOTSOCK'])

export const malformed = (what: string, cause?: unknown): EngineFault => ({ kind: 'malformed', what, cause })

/** `answeredBefore`: an engine that was there and whose socket is gone is being restarted, not uninstalled. */
export function faultOfError(error: unknown, signal: AbortSignal, socketPath: string, answeredBefore = true): EngineFault {
  if (signal.aborted) return { kind: 'cancelled' }
  const errno = errnoOf(error)
  if (ABSENT.has(errno) && !(answeredBefore && errno === 'ENOENT')) return { kind: 'absent', errno, socketPath, cause: error }
  if (error instanceof DeadlineError) return { kind: 'silent', what: error.message, cause: error }
  return { kind: 'silent', what: errno === '' ? 'the connection broke' : errno, cause: error }
}

/** The errno, also of an error inside an AggregateError or behind `cause`. */
function errnoOf(error: unknown, depth = 0): string {
  if (typeof error !== 'object' || error === null || depth > 3) return ''
  if ('code' in error && typeof error.code === 'string') return error.code
  return 'cause' in error ? errnoOf(error.cause, depth + 1) : ''
}

export const isStatus = (fault: EngineFault, status: number): boolean => fault.kind === 'status' && fault.status === status

export const INSTALL_HINT = 'apt-get install -y docker.io'

/** `doing` completes "The Docker Engine …". `refused` is the code for an answered refusal. */
export function failureOf(fault: EngineFault, doing: string, refused: ErrorCode = 'runtime_error'): Failure {
  switch (fault.kind) {
    case 'cancelled':
      return failure('cancelled', `It was cancelled while the Docker Engine should ${doing}.`)
    case 'absent':
      return fault.errno === 'EACCES' || fault.errno === 'EPERM'
        ? failure(
            'runtime_unavailable',
            `This user may not use ${fault.socketPath}; add it to the group docker.`,
            { errno: fault.errno },
            fault.cause,
          )
        : failure(
            'runtime_unavailable',
            `There is no Docker Engine at ${fault.socketPath}; install it with: ${INSTALL_HINT}`,
            { errno: fault.errno },
            fault.cause,
          )
    case 'silent':
      return failure(
        'runtime_unreachable',
        `The Docker Engine did not answer when asked to ${doing} (${fault.what}).`,
        undefined,
        fault.cause,
      )
    case 'malformed':
      return failure(
        'runtime_error',
        `The Docker Engine gave an answer that could not be read when asked to ${doing}: ${fault.what}.`,
        undefined,
        fault.cause,
      )
    case 'too-old':
      return failure('runtime_unavailable', `The Docker Engine speaks API ${fault.version}; 1.41 (Docker 20.10) or newer is needed.`, {
        api_version: fault.version,
      })
    case 'status':
      return failure(refused, `The Docker Engine refused to ${doing} (${fault.status}): ${fault.message || 'no reason given'}`, {
        http_status: fault.status,
      })
    default:
      return fault satisfies never
  }
}
