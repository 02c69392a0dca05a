import { ok, type Result } from '../../base/result.ts'
import type { Failure } from '../../contracts/errors.ts'
import type { NodeView } from '../../contracts/views.ts'
import type { NodeRecord } from '../model/node.ts'
import type { OrgScope } from '../model/org.ts'
import { nodeView } from '../model/views.ts'
import { listNodes, nodesOfOrg } from '../store/nodes.ts'
import { type Context, change, type Handlers, refuseOrgBound, reply } from './context.ts'
import type { ApiDeps } from './deps.ts'
import type { Link } from './link.ts'

type Routes = 'listNodes' | 'getNode' | 'cordonNode' | 'uncordonNode'

type Deps = ApiDeps & { readonly link: Pick<Link, 'freshNode'> }

/** How a caller sees nodes. For one of an organisation, what others have there does not exist: it counts its own instances and memory. */
async function nodesAs({ store, link }: Deps, scope: OrgScope): Promise<Result<(node: NodeRecord) => NodeView, Failure>> {
  if (scope === null) return ok((node) => nodeView(link.freshNode(node)))
  const own = await nodesOfOrg(store.db, scope)
  if (!own.ok) return own
  return ok((node) => {
    const { instances = 0, reservedMemoryBytes = 0 } = own.value.get(node.id) ?? {}
    return { ...nodeView({ ...link.freshNode(node), instances, reservedMemoryBytes }), blocked: null }
  })
}

/** Nodes belong to the platform: everybody sees them, only tokens of the whole platform change them. */
export function nodeHandlers(deps: Deps): Pick<Handlers, Routes> {
  const { store } = deps
  return {
    async listNodes({ query, scope }) {
      const shown = await nodesAs(deps, scope)
      if (!shown.ok) return shown

      const page = await listNodes(store.db, { limit: query.limit, ...(query.cursor !== undefined && { cursor: query.cursor }) })
      return page.ok ? reply({ items: page.value.items.map(shown.value), next_cursor: page.value.nextCursor }) : page
    },
    async getNode({ params, scope }) {
      const shown = await nodesAs(deps, scope)
      if (!shown.ok) return shown
      const found = await store.read.findNode(params.id)
      return found.ok ? reply(shown.value(found.value)) : found
    },
    cordonNode: (context) => cordon(deps, context, true),
    uncordonNode: (context) => cordon(deps, context, false),
  }
}

async function cordon({ store }: ApiDeps, context: Context<'cordonNode' | 'uncordonNode'>, cordoned: boolean) {
  const allowed = refuseOrgBound(context.caller, 'Cordoning nodes')
  if (!allowed.ok) return allowed
  const found = await store.read.findNode(context.params.id)
  if (!found.ok) return found
  const { id } = found.value
  return change<'cordonNode' | 'uncordonNode'>(store, context, 202, {
    orgId: null,
    target: id,
    run: async (tx) => {
      const done = await tx.setCordon(id, cordoned)
      return done.ok ? ok({ body: nodeView(done.value) }) : done
    },
  })
}
