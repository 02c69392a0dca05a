// What a platform counts itself, from its /metrics.
import type { Platform } from './platform.ts'

/** Checks that have ended so far, of all runtimes. */
export async function checksDone(platform: Platform): Promise<number> {
  const answer = await fetch(`${platform.url}/metrics`, { headers: { authorization: `Bearer ${platform.token}` } })
  const values = [...(await answer.text()).matchAll(/^holdfast_vm_health_checks_total\{[^}]*\} (\S+)$/gm)].map((found) => Number(found[1]))
  return values.reduce((sum, value) => sum + value, 0)
}
