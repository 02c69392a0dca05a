// Failed instances that nobody will try again and nobody has looked after for long. Pure.
import type { HealRecord } from './heal.ts'
import type { InstanceRecord } from './instance.ts'

/**
 * Since when it has been failed and given up; null when it is not stale at all. A replica of an env is its rollout's. Two clocks must agree on
 * the time: the node's, which says since when it is failed, and the control plane's own, which says since when that is its business.
 */
export function staleSinceMs(instance: InstanceRecord, heal: HealRecord | null): number | null {
  const { phase, want, membership, deletedAtMs, generation } = instance
  if (phase.kind !== 'failed' || want !== 'running' || membership !== null || deletedAtMs !== null) return null
  if (heal === null || !heal.givenUp || heal.generation < generation) return null
  return Math.max(phase.sinceMs, heal.createdAtMs)
}
