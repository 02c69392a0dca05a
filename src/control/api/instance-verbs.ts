// What a person may wish of an instance. Each verb is decided on the row as it is under its lock, so two verbs at once are one
// after the other; a wish that already holds changes nothing and is accepted.
import { err, ok, type Result } from '../../base/result.ts'
import { type Failure, failure } from '../../contracts/errors.ts'
import type { Runtime } from '../../contracts/spec.ts'
import type { InstanceRecord } from '../model/instance.ts'
import { instanceView } from '../model/views.ts'
import type { DesiredChange } from '../store/desired-fold.ts'
import { type Context, change, type Handler, type Handlers } from './context.ts'
import type { CoreDeps } from './deps.ts'
import type { Link } from './link.ts'
import { lastOf } from './output.ts'
import { decideRecover } from './recover-verb.ts'

type VerbRoute =
  | 'startInstance'
  | 'stopInstance'
  | 'restartInstance'
  | 'recoverInstance'
  | 'pauseInstance'
  | 'resumeInstance'
  | 'resetInstance'
  | 'deleteInstance'
type PlainVerb = Exclude<VerbRoute, 'deleteInstance'>
type Deps = CoreDeps & { readonly link: Pick<Link, 'request'> }
/** `force`: also what would otherwise be refused as needless. */
type Decide = (now: InstanceRecord, force?: boolean) => Result<DesiredChange | null, Failure>

/** What each runtime can do beyond start and stop; what it cannot is refused here by name. */
const PAUSES: ReadonlySet<Runtime> = new Set(['process', 'docker', 'qemu', 'firecracker', 'fake'])
const RESETS: ReadonlySet<Runtime> = new Set(['qemu'])

const nothing = ok(null)
const wrong = (now: InstanceRecord, detail: string) => err(failure('wrong_state', detail, { state: now.phase.kind, want: now.want }))
const cannot = (now: InstanceRecord, what: string) =>
  err(failure('unsupported', `The ${now.runtime} runtime cannot ${what} an instance.`, { runtime: now.runtime, verb: what }))

/** It rests although it is wished running, so only a new wish moves it. */
const RESTS = new Set(['failed', 'completed'])

/** From these nothing leads to a life that could be paused, unless somebody wishes it. */
const UNPAUSABLE: ReadonlySet<string> = new Set([...RESTS, 'quarantined', 'stopped'])

export const VERBS: Readonly<Record<VerbRoute, Decide>> = {
  startInstance: (now) => {
    if (now.want !== 'running') return ok({ verb: 'start', want: 'running' })
    if (now.phase.kind === 'quarantined') return ok({ verb: 'start', restart: true })
    return RESTS.has(now.phase.kind) ? ok({ verb: 'start', want: 'running' }) : nothing
  },
  stopInstance: (now) => (now.want === 'stopped' ? nothing : ok({ verb: 'stop', want: 'stopped' })),
  restartInstance: () => ok({ verb: 'restart', want: 'running', restart: true }),
  recoverInstance: decideRecover,
  pauseInstance: (now) => {
    if (!PAUSES.has(now.runtime)) return cannot(now, 'pause')
    if (now.want === 'paused') return nothing
    if (now.want === 'stopped' || UNPAUSABLE.has(now.phase.kind))
      return wrong(now, `${now.name} is ${now.phase.kind}: no life of it that could be paused is there or on its way.`)
    return ok({ verb: 'pause', want: 'paused' })
  },
  resumeInstance: (now) => {
    if (now.want === 'paused') return ok({ verb: 'resume', want: 'running' })
    return now.want === 'running' ? nothing : wrong(now, `${now.name} is wished ${now.want}; start it.`)
  },
  resetInstance: (now) => (RESETS.has(now.runtime) ? ok({ verb: 'reset', want: 'running', restart: true }) : cannot(now, 'reset')),
  deleteInstance: (now) => (now.want === 'deleted' ? nothing : ok({ verb: 'delete', want: 'deleted' })),
}

const PURGE: Decide = (now) => (now.purge ? nothing : ok({ verb: 'delete', want: 'deleted', purge: true }))

export function verbHandlers(deps: Deps): Pick<Handlers, VerbRoute> {
  const handler =
    <Name extends PlainVerb>(name: Name): Handler<PlainVerb> =>
    (context) =>
      carryOut(deps, context, VERBS[name])
  return {
    startInstance: handler('startInstance'),
    stopInstance: handler('stopInstance'),
    restartInstance: handler('restartInstance'),
    recoverInstance: handler('recoverInstance'),
    pauseInstance: handler('pauseInstance'),
    resumeInstance: handler('resumeInstance'),
    resetInstance: handler('resetInstance'),
    deleteInstance: (context) => (context.query.purge ? purge(deps, context) : carryOut(deps, context, VERBS.deleteInstance)),
  }
}

/** Of what is gone already only the node still has something: it is asked, and an answer is waited for. */
async function purge(deps: Deps, context: Context<'deleteInstance'>) {
  const found = await deps.store.read.findInstance(context.params.id, context.scope)
  if (!found.ok) return found
  const { id, orgId, nodeId, deletedAtMs } = found.value
  if (deletedAtMs === null) return carryOut(deps, context, PURGE)
  if (nodeId !== null) {
    const exchange = deps.link.request(nodeId, { op: 'purge', instanceId: id })
    if (!exchange.ok) return exchange
    const end = await lastOf(deps, exchange.value, deps.limits.purgeMs, context.signal)
    if (!end.ok) return end
  }
  return change<'deleteInstance'>(deps.store, context, 202, {
    orgId,
    target: id,
    run: async () => ok({ body: instanceView(found.value), auditData: { purge: true } }),
  })
}

async function carryOut({ store }: CoreDeps, context: Context<VerbRoute>, decide: Decide) {
  const found = await store.read.findInstance(context.params.id, context.scope)
  if (!found.ok) return found
  const { id, orgId } = found.value
  const force = context.body !== undefined && 'force' in context.body && context.body.force === true
  return change<VerbRoute>(store, context, 202, {
    orgId,
    target: id,
    run: async (tx) => {
      const done = await tx.changeDesired(id, (now) => decide(now, force))
      return done.ok
        ? ok({
            body: instanceView(done.value),
            auditData: { generation: done.value.generation, want: done.value.want, ...(force && { force }) },
          })
        : done
    },
  })
}
