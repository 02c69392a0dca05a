// Deploying: an env is moved to a manifest here; the rollout loop then brings its instances there.
import { ok, type Result } from '../../base/result.ts'
import type { Failure } from '../../contracts/errors.ts'
import { newId } from '../../contracts/ids.ts'
import { compileManifest } from '../../contracts/manifest-compile.ts'
import type { EnvStatusView } from '../../contracts/views.ts'
import type { EnvRecord } from '../model/env.ts'
import { envStatus } from '../model/env-status.ts'
import type { StoreReads } from '../store/access.ts'
import { listEnvs } from '../store/envs.ts'
import { change, type Handlers, reply } from './context.ts'
import type { ApiDeps } from './deps.ts'
import { refuseUnoffered } from './impossible.ts'
import type { NodeCache } from './node-cache.ts'

export function envHandlers(deps: ApiDeps & { readonly nodes: NodeCache }): Pick<Handlers, 'deploy' | 'listEnvs' | 'deleteEnv'> {
  const { store, clock, random } = deps
  return {
    async deploy(context) {
      const { manifest, env } = context.body
      const compiled = compileManifest(manifest, env)
      if (!compiled.ok) return compiled
      const runtimes = compiled.value.processes.map((process) => process.spec.runtime)
      const possible = await refuseUnoffered(deps.nodes, [...new Set(runtimes)])
      if (!possible.ok) return possible
      const orgId = context.scope ?? deps.defaultOrg
      const { app, hash } = compiled.value
      const ids = { newAppId: newId.app(clock, random), newEnvId: newId.env(clock, random) }
      return change(store, context, 202, {
        orgId,
        target: `${app}/${env}`,
        run: async (tx) => {
          const put = await tx.putEnv({ orgId, app, env, manifest, manifestHash: hash, ...ids })
          if (!put.ok) return put
          const view = await statusOf(tx.read, put.value.env)
          return view.ok
            ? ok({ body: view.value, target: put.value.env.id, auditData: { app, env, hash, changed: put.value.changed } })
            : view
        },
      })
    },
    async listEnvs({ query, scope }) {
      const page = await listEnvs(store.db, {
        scope,
        limit: query.limit,
        ...(query.app !== undefined && { app: query.app }),
        ...(query.cursor !== undefined && { cursor: query.cursor }),
      })
      if (!page.ok) return page
      const items: EnvStatusView[] = []
      for (const env of page.value.items) {
        const view = await statusOf(store.read, env)
        if (!view.ok) return view
        items.push(view.value)
      }
      return reply({ items, next_cursor: page.value.nextCursor })
    },
    async deleteEnv(context) {
      const found = await store.read.findEnv(context.params.id, context.scope)
      if (!found.ok) return found
      const { id, orgId, app, env } = found.value
      return change(store, context, 202, {
        orgId,
        target: id,
        run: async (tx) => {
          const marked = await tx.markEnvDeleting(id)
          if (!marked.ok) return marked
          const view = await statusOf(tx.read, marked.value)
          return view.ok ? ok({ body: view.value, auditData: { app, env } }) : view
        },
      })
    },
  }
}

async function statusOf(read: StoreReads, env: EnvRecord): Promise<Result<EnvStatusView, Failure>> {
  const instances = await read.listEnvInstances(env.id)
  return instances.ok ? ok(envStatus(env, instances.value)) : instances
}
