// Foreign errors of a check, turned into a closed reason where they are met: by errno, never by text.
import { errnoOf } from '../../base/errno.ts'
import type { CheckFailureReason } from '../../contracts/check-reasons.ts'

/** What a single run says; the runner adds how long it took and what the deadline did. */
export type Finding =
  | { readonly kind: 'pass'; readonly detail: string }
  | { readonly kind: 'fail'; readonly reason: CheckFailureReason; readonly detail: string }
  | { readonly kind: 'inconclusive'; readonly detail: string }

export const pass = (detail: string): Finding => ({ kind: 'pass', detail })
export const fail = (reason: CheckFailureReason, detail: string): Finding => ({ kind: 'fail', reason, detail })
export const inconclusive = (detail: string): Finding => ({ kind: 'inconclusive', detail })

export function socketFinding(error: unknown, where: string): Finding {
  const errno = errnoOf(error) ?? 'unknown'
  // Our own shortage says nothing about the instance.
  if (errno === 'EMFILE' || errno === 'ENFILE' || errno === 'EADDRNOTAVAIL' || errno === 'ENOMEM')
    return inconclusive(`${where}: the agent has no free socket (${errno})`)
  if (errno === 'ECONNREFUSED') return fail('connection_refused', `${where}: connection refused`)
  if (errno.startsWith('HPE_')) return fail('bad_reply', `${where}: the answer is not HTTP (${errno})`)
  return fail('connection_failed', `${where}: ${errno}`)
}
