// Instances: create, look, change labels and metadata, explain.
import { err, ok, type Result } from '../../base/result.ts'
import { type Failure, failure } from '../../contracts/errors.ts'
import { InstanceId, newId } from '../../contracts/ids.ts'
import { PHASE_KINDS, type PhaseKind } from '../../contracts/phase.ts'
import { parseSelector } from '../../contracts/selector.ts'
import type { InstanceSpec } from '../../contracts/spec.ts'
import { compileSpec } from '../../contracts/spec-compile.ts'
import { parseSshPublicKey } from '../../contracts/ssh-key.ts'
import { parseUserData } from '../../contracts/user-data.ts'
import type { InstanceView } from '../../contracts/views.ts'
import type { OrgScope } from '../model/org.ts'
import { historyView, instanceView, timeOf } from '../model/views.ts'
import { explain } from '../model/why.ts'
import { type Context, change, type Handler, type Handlers, reply } from './context.ts'
import type { CoreDeps } from './deps.ts'
import { refuseImpossible } from './impossible.ts'
import type { Link } from './link.ts'
import type { NodeCache } from './node-cache.ts'

type Routes = 'createInstance' | 'listInstances' | 'getInstance' | 'putMetadata' | 'whyInstance' | 'historyInstance'

type Deps = CoreDeps & {
  readonly nodes: NodeCache
  readonly link: Pick<Link, 'freshInstance'>
  /** Null, or why the store takes no records at present: what it knows may be old. */
  readonly storeBlocked: () => Promise<Failure | null>
}

export function instanceHandlers(deps: Deps): Pick<Handlers, Routes> {
  const { store, clock, link } = deps
  return {
    createInstance: (context) => create(deps, context),
    listInstances: list(deps),
    async getInstance({ params, scope }) {
      const found = await store.read.findInstance(params.id, scope)
      if (!found.ok) return found
      const heal = found.value.phase.kind === 'failed' ? await store.read.getHeal(found.value.id) : ok(null)
      return heal.ok ? ok({ body: instanceView(link.freshInstance(found.value), heal.value), headers: etag(found.value) }) : heal
    },
    async putMetadata(context) {
      const { params, body, query, scope, ifVersion } = context
      if (body.labels === undefined && body.metadata === undefined)
        return err(failure('invalid_input', 'body: give labels, metadata or both', { field: 'body' }))
      const found = await store.read.findInstance(params.id, scope)
      if (!found.ok) return found
      const { id, orgId } = found.value
      return change(store, context, 200, {
        orgId,
        target: id,
        run: async (tx) => {
          const done = await tx.putMetadata(id, {
            mode: query.mode,
            ifVersion,
            ...(body.labels && { labels: body.labels }),
            ...(body.metadata && { metadata: body.metadata }),
          })
          if (!done.ok) return done
          const keys = { labels: Object.keys(body.labels ?? {}), metadata: Object.keys(body.metadata ?? {}) }
          return ok({ body: instanceView(done.value), auditData: { mode: query.mode, ...keys } })
        },
      })
    },
    async whyInstance({ params, scope }) {
      const found = await store.read.findInstance(params.id, scope)
      if (!found.ok) return err(await withCollection(deps, params.id, scope, found.error))
      const instance = link.freshInstance(found.value)
      const reading = [store.read.allNodes(), store.read.getHeal(instance.id), deps.storeBlocked()] as const
      const [nodes, heal, storeBlocked] = await Promise.all(reading)
      if (!nodes.ok) return nodes
      if (!heal.ok) return heal
      const node = nodes.value.find((one) => one.id === instance.nodeId) ?? null
      return reply(explain({ instance, node, heal: heal.value, nodesKnown: nodes.value.length, storeBlocked, nowMs: clock.wallMs() }))
    },
    async historyInstance({ params, scope }) {
      const found = await store.read.findInstance(params.id, scope)
      if (!found.ok) return found
      const transitions = await store.read.listTransitions(found.value.id)
      return transitions.ok ? reply(historyView(found.value.name, found.value.observed?.attempts ?? [], transitions.value)) : transitions
    },
  }
}

const COLLECTED_LOOKED_AT = 500

/** What nobody knows any more may have been garbage: then that is said, with the reason. */
async function withCollection({ store }: Deps, ref: string, scope: OrgScope, given: Failure): Promise<Failure> {
  const id = InstanceId.safeParse(ref)
  if (given.code !== 'not_found' || !id.success) return given
  const events = await store.read.listEvents({ scope, instanceId: id.data, after: 0, limit: COLLECTED_LOOKED_AT })
  const last = events.ok ? events.value.findLast(({ type }) => type === 'resource.collected') : undefined
  if (!last) return given
  const { kind, reason, detail } = last.data
  const where = last.nodeId === null ? '' : ` on node ${last.nodeId}`
  return failure(
    'not_found',
    `No instance ${ref}: what was left of it${where} was collected at ${timeOf(last.atMs)} (${kind}, ${reason}). ${detail}`,
    given.fields,
  )
}

const etag = (instance: { readonly version: number }) => ({ etag: `"${instance.version}"` })

/** A generated name is tried again with other letters; a chosen one is the user's. */
const NAME_TRIES = 3

async function create(deps: Deps, context: Context<'createInstance'>) {
  const { store, clock, random } = deps
  const { body } = context
  const spec = checkSpec(compileSpec(body))
  if (!spec.ok) return spec
  const possible = await refuseImpossible(deps.nodes, spec.value)
  if (!possible.ok) return possible
  const orgId = context.scope ?? deps.defaultOrg
  for (let tries = 1; ; tries += 1) {
    const name = body.name ?? `${spec.value.runtime}-${random.text(5)}`
    const id = newId.instance(clock, random)
    const done = await change<'createInstance'>(store, context, 202, {
      orgId,
      target: name,
      run: async (tx) => {
        const { labels, metadata, name: _name, ...input } = body
        const made = await tx.createInstance({
          id,
          orgId,
          name,
          spec: spec.value,
          input,
          labels,
          metadata,
          membership: null,
          recoveryMode: spec.value.recoveryMode,
        })
        return made.ok ? ok({ body: instanceView(made.value), target: id, auditData: { name, runtime: spec.value.runtime } }) : made
      },
    })
    if (done.ok || done.error.code !== 'name_taken' || body.name !== undefined || tries === NAME_TRIES) return done
  }
}

/** What the node would find out later, found out now: the user is still there to hear it. */
function checkSpec(compiled: Result<InstanceSpec, Failure>): Result<InstanceSpec, Failure> {
  if (!compiled.ok) return compiled
  const { userData, sshAuthorizedKeys } = compiled.value
  if (userData !== null) {
    const parsed = parseUserData(userData)
    if (!parsed.ok) return parsed
  }
  for (const [index, key] of sshAuthorizedKeys.entries()) {
    const parsed = parseSshPublicKey(key)
    if (!parsed.ok)
      return err(
        failure(parsed.error.code, `ssh_authorized_keys.${index}: ${parsed.error.detail}`, {
          ...parsed.error.fields,
          field: `ssh_authorized_keys.${index}`,
        }),
      )
  }
  return compiled
}

const isState = (text: string): text is PhaseKind => PHASE_KINDS.some((kind) => kind === text)

const list =
  ({ store, link }: Deps): Handler<'listInstances'> =>
  async ({ query, scope }) => {
    const selector = parseSelector(query.selector ?? '')
    if (!selector.ok) return selector
    const { state } = query
    if (state !== undefined && !isState(state))
      return err(failure('invalid_input', `state: must be one of ${PHASE_KINDS.join(', ')}`, { field: 'state', known: [...PHASE_KINDS] }))
    const page = await store.read.listInstances({
      scope,
      selector: selector.value,
      limit: query.limit,
      ...(query.cursor !== undefined && { cursor: query.cursor }),
      ...(state !== undefined && { state }),
      ...(query.name !== undefined && { name: query.name }),
      ...(query.env_id !== undefined && { envId: query.env_id }),
      ...((query.include_deleted || state === 'deleted') && { includeDeleted: true }),
    })
    if (!page.ok) return page
    const failed = page.value.items.filter((one) => one.phase.kind === 'failed').map((one) => one.id)
    const heals = await store.read.getHeals(failed)
    if (!heals.ok) return heals
    const items: InstanceView[] = page.value.items.map((one) => instanceView(link.freshInstance(one), heals.value.get(one.id) ?? null))
    return reply({ items, next_cursor: page.value.nextCursor })
  }
