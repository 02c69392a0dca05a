// Garbage collection by hand: asks every connected agent over its link, and looks at the control plane's own. Nothing here decides
// what is garbage.
import { err, ok, type Result } from '../../base/result.ts'
import { ERRORS, type Failure, failure } from '../../contracts/errors.ts'
import type { GarbageCandidate, GarbageItem, GarbageReport } from '../../contracts/garbage.ts'
import type { NodeId } from '../../contracts/ids.ts'
import type { GarbageView } from '../../contracts/views.ts'
import { collectStale, listStale, staleItem } from '../store/stale.ts'
import type { Caller } from './caller.ts'
import { type Handlers, refuseOrgBound, reply } from './context.ts'
import type { ApiDeps } from './deps.ts'
import type { Link } from './link.ts'
import { lastOf } from './output.ts'

type Deps = ApiDeps & { readonly link: Link }

interface Asked {
  readonly node: string | undefined
  readonly dryRun: boolean
  readonly images: boolean
  readonly unknown: boolean
}

export function gcHandlers(deps: Deps): Pick<Handlers, 'showGarbage' | 'collectGarbage'> {
  return {
    showGarbage: ({ query, caller, signal }) => {
      const { node, images = false, unknown = false } = query
      return run(deps, caller, { node, images, unknown, dryRun: true }, signal)
    },
    async collectGarbage({ body, caller, signal, requestId }) {
      const { node, images = false, unknown = false } = body ?? {}
      const done = await run(deps, caller, { node, images, unknown, dryRun: false }, signal)
      const noted = await deps.store.write(caller.actor, async (tx) => {
        const data = done.ok ? { images, unknown, collected: done.value.body.collected.length } : { code: done.error.code }
        const outcome = done.ok ? 'accepted' : 'refused'
        tx.audit({ action: 'collectGarbage', requestId, orgId: null, target: node ?? 'all nodes', outcome, data })
        return ok(undefined)
      })
      return noted.ok ? done : noted
    },
  }
}

async function run(deps: Deps, caller: Caller, asked: Asked, signal: AbortSignal) {
  const allowed = refuseOrgBound(caller, 'Garbage collection')
  if (!allowed.ok) return allowed
  const nodes = await nodesOf(deps, asked.node)
  if (!nodes.ok) return nodes
  const [answers, own] = await Promise.all([
    Promise.all(nodes.value.map(async (nodeId) => ({ nodeId, report: await askNode(deps, nodeId, asked, signal) }))),
    asked.node === undefined ? ownGarbage(deps, caller, asked.dryRun) : ok({ candidates: [], collected: [], notes: [] }),
  ])
  if (!own.ok) return own
  const [only] = answers
  // Of the one that was named the failure is the answer.
  if (asked.node !== undefined && only && !only.report.ok) return only.report
  const view: GarbageView = { ...viewOf(null, own.value), nodes: [] }
  for (const { nodeId, report } of answers) {
    const { candidates, collected } = report.ok ? viewOf(nodeId, report.value) : { candidates: [], collected: [] }
    view.candidates.push(...candidates)
    view.collected.push(...collected)
    const error = report.ok ? null : { code: report.error.code, detail: report.error.detail || ERRORS[report.error.code].message }
    view.nodes.push({ node_id: nodeId, notes: report.ok ? report.value.notes : [], error })
  }
  return reply(view)
}

async function nodesOf({ store }: Deps, ref: string | undefined): Promise<Result<readonly NodeId[], Failure>> {
  if (ref !== undefined) {
    const found = await store.read.findNode(ref)
    return found.ok ? ok([found.value.id]) : found
  }
  const all = await store.read.allNodes()
  return all.ok ? ok(all.value.filter((node) => node.connected).map((node) => node.id)) : all
}

async function askNode(
  deps: Deps,
  nodeId: NodeId,
  { dryRun, images, unknown }: Asked,
  signal: AbortSignal,
): Promise<Result<GarbageReport, Failure>> {
  const exchange = deps.link.request(nodeId, { op: 'gc', dryRun, images, unknown })
  if (!exchange.ok) return exchange
  const end = await lastOf(deps, exchange.value, deps.limits.gcMs, signal)
  if (!end.ok) return end
  return end.value.gc ? ok(end.value.gc) : err(failure('internal', 'The agent answered without a report.'))
}

/** Failed instances that were given up long ago. */
async function ownGarbage(deps: Deps, caller: Caller, dryRun: boolean): Promise<Result<GarbageReport, Failure>> {
  const { store, gc, clock, log, meter } = deps
  const stale = await listStale(store.read)
  if (!stale.ok) return stale
  const collected: GarbageItem[] = []
  const due = stale.value.filter(({ sinceMs }) => clock.wallMs() - sinceMs >= gc.failedAfterMs)
  for (const { instance } of dryRun ? [] : due.slice(0, gc.perCycleMax)) {
    const done = await store.write(caller.actor, (tx) => collectStale(tx, instance.id, gc.failedAfterMs))
    if (!done.ok) return done
    if (done.value === null) continue
    const { kind, reason, id, ageMs } = done.value
    collected.push(done.value)
    log.info('resource collected', { kind, id, reason, age_ms: ageMs })
    meter.count('gc_deleted_total', { kind, reason })
  }
  const gone = new Set(collected.map((one) => one.id))
  const candidates = stale.value
    .filter(({ instance }) => !gone.has(instance.id))
    .map((one): GarbageCandidate => {
      const item = staleItem(one, clock.wallMs())
      const dueInMs = Math.max(0, gc.failedAfterMs - item.ageMs)
      return { ...item, due: dueInMs === 0, dueInMs }
    })
  return ok({ candidates, collected, notes: [] })
}

const itemView = (nodeId: NodeId | null, { ageMs, ...rest }: GarbageItem) => ({ node_id: nodeId, ...rest, age_ms: ageMs })

const viewOf = (nodeId: NodeId | null, { candidates, collected }: GarbageReport): Pick<GarbageView, 'candidates' | 'collected'> => ({
  candidates: candidates.map(({ due, dueInMs, ...rest }) => ({ ...itemView(nodeId, rest), due, due_in_ms: dueInMs })),
  collected: collected.map((one) => itemView(nodeId, one)),
})
