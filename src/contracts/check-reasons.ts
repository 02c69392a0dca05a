/** Why a check failed: a closed set, because it is a metric label. The words of HEAL-3 for engine evidence, the rest for user checks. */
export const CHECK_FAILURE_REASONS = [
  'process_dead',
  'process_mismatch',
  'socket_unreachable',
  'health_check_failed',
  'timeout',
  'no_address',
  'connection_refused',
  'connection_failed',
  'bad_reply',
  'bad_status',
  'exit_code',
  'exec_failed',
] as const
export type CheckFailureReason = (typeof CHECK_FAILURE_REASONS)[number]
