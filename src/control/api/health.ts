// /health: each subsystem by name. Unhealthy (503) only when the API itself cannot do its work, which is without the store; a part
// that is missing while the rest works makes it degraded.
import { durationText } from '../../base/duration-text.ts'
import { blockedText } from '../../contracts/blocked.ts'
import type { HealthView } from '../../contracts/views.ts'
import { allNodes } from '../store/nodes.ts'
import type { ApiDeps, Check } from './deps.ts'
import type { Link } from './link.ts'

const RANK = { healthy: 0, degraded: 1, unhealthy: 2 } as const

export async function checkHealth(deps: ApiDeps, link: Link): Promise<HealthView> {
  const named: Readonly<Record<string, () => Promise<Check>>> = {
    store: () => checkStore(deps),
    agents: () => checkAgents(deps, link),
    ...deps.checks,
  }
  const results = await Promise.all(Object.entries(named).map(async ([name, check]) => [name, await bounded(deps, check)] as const))
  const checks = Object.fromEntries(results)
  const worst = results.reduce<Check['status']>((status, [name, check]) => {
    // Only the store takes the whole API down.
    const counted = name !== 'store' && check.status === 'unhealthy' ? 'degraded' : check.status
    return RANK[counted] > RANK[status] ? counted : status
  }, 'healthy')
  return { status: worst, version: deps.version, checks }
}

async function bounded(deps: ApiDeps, check: () => Promise<Check>): Promise<Check> {
  let cancel = () => {}
  const late = new Promise<Check>((resolve) => {
    cancel = deps.clock.after(deps.limits.healthCheckMs, () =>
      resolve({ status: 'unhealthy', detail: `no answer within ${durationText(deps.limits.healthCheckMs)}` }),
    )
  })
  try {
    return await Promise.race([check(), late])
  } catch (error) {
    deps.log.error('health check failed', { error: error instanceof Error ? error.message : String(error) })
    return { status: 'unhealthy', detail: 'the check itself failed; see the log' }
  } finally {
    cancel()
  }
}

async function checkStore({ store }: ApiDeps): Promise<Check> {
  const health = await store.health()
  if (!health.ok) return { status: 'unhealthy', detail: health.error.detail }
  const blocked = await store.blocked()
  // It is read still, so the API does a part of its work.
  if (blocked) return { status: 'degraded', detail: `takes no records, what it shows may be old: ${blocked.detail}` }
  return { status: 'healthy', detail: `PostgreSQL ${health.value.version} answers in ${durationText(health.value.latencyMs)}` }
}

async function checkAgents(deps: ApiDeps, link: Link): Promise<Check> {
  const nodes = await allNodes(deps.store.db)
  if (!nodes.ok) return { status: 'degraded', detail: `${link.connected} connected here; the store does not answer` }
  const offline = nodes.value.filter((node) => !node.connected).map((node) => node.id)
  if (nodes.value.length === 0) return { status: 'degraded', detail: 'no agent has connected yet' }
  if (offline.length > 0)
    return {
      status: 'degraded',
      detail: `${nodes.value.length - offline.length} of ${nodes.value.length} connected; offline: ${offline.slice(0, 5).join(', ')}`,
    }
  const blocked = nodes.value.flatMap((node) => {
    const { blocked: why } = link.freshNode(node).usage
    return why ? [`${node.id}: ${blockedText(why)}`] : []
  })
  if (blocked.length > 0) return { status: 'degraded', detail: blocked.slice(0, 5).join('; ') }
  return { status: 'healthy', detail: `${nodes.value.length} of ${nodes.value.length} connected` }
}
