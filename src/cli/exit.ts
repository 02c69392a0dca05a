// Exit codes are part of the interface (docs/cli.md): a script may branch on them.
import { ERRORS, type ErrorCode } from '../contracts/errors.ts'

export const EXIT = {
  ok: 0,
  unexpected: 1,
  usage: 2,
  permission: 3,
  notFound: 4,
  conflict: 5,
  transient: 6,
  timedOut: 7,
  terminalFailure: 8,
} as const

/** These say more than their HTTP status does. */
const OWN: Partial<Record<ErrorCode, number>> = {
  wait_timeout: EXIT.timedOut,
  invalid_config: EXIT.usage,
  data_dir_unusable: EXIT.usage,
  disk_full: EXIT.transient,
}

export function exitCodeOf(code: ErrorCode): number {
  const own = OWN[code]
  if (own !== undefined) return own
  const { http, retry } = ERRORS[code]
  if (http === 401 || http === 403) return EXIT.permission
  if (http === 404) return EXIT.notFound
  if (http === 409 || http === 412) return EXIT.conflict
  if (http < 500) return EXIT.usage
  // A 500 is a fault of ours or of a workload; the other 5xx are about something that does not answer now.
  if (http === 500) return EXIT.unexpected
  return retry === 'never' ? EXIT.unexpected : EXIT.transient
}
