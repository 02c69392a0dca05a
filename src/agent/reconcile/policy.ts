// Which recovery settings are in force for an instance.
import type { ReliabilityConfig } from '../../contracts/reliability.ts'
import type { InstanceSpec } from '../../contracts/spec.ts'
import type { RecoveryPolicy } from '../model/plan.ts'

/** A run this long proves an incarnation stable: the next end is answered at once. Docker resets its backoff after the same time. */
const STABLE_AFTER_MS = 10_000
/** Without checks, living this long verifies a start. */
const VERIFY_AFTER_MS = 1000

/** The recovery settings of one instance: its own mode, else its env's, else the node's. */
export function recoveryPolicy(reliability: ReliabilityConfig, spec: InstanceSpec, envMode: RecoveryPolicy['mode'] | null): RecoveryPolicy {
  const { recovery, enabled } = reliability
  return {
    mode: enabled ? (spec.recoveryMode ?? envMode ?? recovery.mode) : 'off',
    checked: enabled && reliability.healthCheck.enabled,
    maxRetries: recovery.maxRetries,
    backoff: { baseMs: recovery.retryIntervalMs, factor: recovery.backoffFactor, maxMs: recovery.maxRetryIntervalMs },
    recoveryTimeoutMs: recovery.recoveryTimeoutMs,
    stableAfterMs: STABLE_AFTER_MS,
    verifyAfterMs: VERIFY_AFTER_MS,
    cooldownMs: recovery.maxRetryIntervalMs,
    endsMax: reliability.breaker.instanceEndsMax,
    endsWindowMs: reliability.breaker.instanceWindowMs,
    allowDataLoss: spec.allowDataLoss || recovery.allowDataLoss,
  }
}
