import { ok } from '../../base/result.ts'
import { nodeView } from '../model/views.ts'
import { listNodes } from '../store/nodes.ts'
import { type Context, change, type Handlers, refuseOrgBound, reply } from './context.ts'
import type { ApiDeps } from './deps.ts'
import type { Link } from './link.ts'

type Routes = 'listNodes' | 'getNode' | 'cordonNode' | 'uncordonNode'

/** Nodes belong to the platform: everybody sees them, only tokens of the whole platform change them. */
export function nodeHandlers(deps: ApiDeps & { readonly link: Pick<Link, 'freshNode'> }): Pick<Handlers, Routes> {
  const { store, link } = deps
  return {
    async listNodes({ query }) {
      const page = await listNodes(store.db, { limit: query.limit, ...(query.cursor !== undefined && { cursor: query.cursor }) })
      return page.ok
        ? reply({ items: page.value.items.map((node) => nodeView(link.freshNode(node))), next_cursor: page.value.nextCursor })
        : page
    },
    async getNode({ params }) {
      const found = await store.read.findNode(params.id)
      return found.ok ? reply(nodeView(link.freshNode(found.value))) : found
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
