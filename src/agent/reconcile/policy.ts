// Which recovery settings are in force for an instance.
import type { Desired } from '../../contracts/agent-protocol.ts'
import { type ModesInForce, modesInForce } from '../../contracts/modes.ts'
import type { ReliabilityConfig } from '../../contracts/reliability.ts'
import type { RecoveryPolicy } from '../model/plan.ts'

/** A run this long proves an incarnation stable: the next end is answered at once. Docker resets its backoff after the same time. */
const STABLE_AFTER_MS = 10_000
/** No attempt counts as a success before it has lived this long; without checks, that verifies it. */
const VERIFY_AFTER_MS = 1000

/** What is in force for one instance: its own word, else its env's, else the node's. */
export const modesFor = (reliability: ReliabilityConfig, { modes, envModes }: Desired): ModesInForce =>
  modesInForce({ instance: modes, env: envModes }, reliability)

export function recoveryPolicy(reliability: ReliabilityConfig, desired: Desired): RecoveryPolicy {
  const { recovery } = reliability
  const modes = modesFor(reliability, desired)
  const { spec } = desired
  return {
    mode: modes.recovery.mode,
    checked: modes.checks.mode === 'on',
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
