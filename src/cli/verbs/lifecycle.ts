// The verbs that wish an instance into another state: they differ in their words, in the route, and in what --wait waits for.
import { ok } from '../../base/result.ts'
import type { Client } from '../../client/client.ts'
import type { InstanceView } from '../../contracts/views.ts'
import { finish } from '../finish.ts'
import { duration, type Flag, flag, oneOfOr } from '../flags.ts'
import { connect } from '../session.ts'
import { type ListedVerb, verb } from '../verb.ts'
import type { Awaited } from '../wait.ts'

interface Wish {
  readonly name: string
  readonly summary: string
  readonly route:
    | 'startInstance'
    | 'stopInstance'
    | 'restartInstance'
    | 'recoverInstance'
    | 'pauseInstance'
    | 'resumeInstance'
    | 'deleteInstance'
  readonly what: string
  readonly awaited: Awaited
  /** Takes --force. */
  readonly forcible?: true
  /** Only a newer incarnation counts as done. */
  readonly renews?: true
  /** It may leave no evidence behind. */
  readonly purges?: true
}

const WISHES: readonly Wish[] = [
  { name: 'start', summary: 'Wish an instance running', route: 'startInstance', what: 'starting', awaited: 'running' },
  {
    name: 'stop',
    summary: 'Wish an instance stopped; it stays so until you start it',
    route: 'stopInstance',
    what: 'stopping',
    awaited: 'stopped',
  },
  {
    name: 'restart',
    summary: 'Stop an instance and start it again',
    route: 'restartInstance',
    what: 'restarting',
    awaited: 'running',
    renews: true,
  },
  {
    name: 'recover',
    summary: 'Try again now: lifts a quarantine',
    forcible: true,
    route: 'recoverInstance',
    what: 'recovering',
    awaited: 'running',
  },
  { name: 'pause', summary: 'Freeze an instance', route: 'pauseInstance', what: 'pausing', awaited: 'paused' },
  { name: 'resume', summary: 'Thaw a paused instance', route: 'resumeInstance', what: 'resuming', awaited: 'running' },
  {
    name: 'delete',
    summary: 'Delete an instance; its record, and if it failed its last output, are kept for a while',
    route: 'deleteInstance',
    what: 'deleting',
    awaited: 'deleted',
    purges: true,
  },
]

/** What runs may be waited for until it is healthy too. */
function waitFlag(awaited: Awaited): Flag<Awaited | undefined> {
  if (awaited === 'running') return oneOfOr('--wait [state]', 'wait until it is running or healthy', ['running', 'healthy'], 'running')
  const plain = flag('--wait', `wait until it is ${awaited}`)
  return { ...plain, read: (raw) => ok(raw === true ? awaited : undefined) }
}

export const LIFECYCLE: readonly ListedVerb[] = WISHES.map((wish) =>
  verb({
    name: wish.name,
    args: '<id>',
    group: 'Act',
    summary: wish.summary,
    flags: {
      wait: waitFlag(wish.awaited),
      ...(wish.forcible && { force: flag('--force', 'replace it also when nothing is wrong with it') }),
      waitTimeout: duration('--wait-timeout <time>', 'give up waiting after this long (default 60s)'),
      ...(wish.purges && { purge: flag('--purge', 'keep no output of it either, also of one deleted before (give its whole id)') }),
    },
    async run({ core, out, args: [id = ''], flags }) {
      const client = await connect({ core, flags })
      if (!client.ok) return client
      const before = wish.renews ? await client.value.call('getInstance', { params: { id } }) : undefined
      if (before && !before.ok) return before
      const answer = await carryOut(client.value, wish.route, id, flags)
      if (!answer.ok) return answer
      const instance = answer.value
      return finish({
        core,
        out,
        client: client.value,
        what: joins(wish, instance) ? 'joined the start under way of' : wish.what,
        instance,
        next: wish.awaited === 'deleted' ? afterDelete(instance) : `holdfast wait ${instance.name} ${wish.awaited}`,
        awaited: flags.wait,
        timeoutMs: flags.waitTimeout,
        ...(before && { afterIncarnation: before.value.incarnation }),
      })
    },
  }),
)

/** What was asked for is on its way already; it is not begun a second time. */
const joins = ({ route }: Wish, { state, desired }: InstanceView): boolean =>
  route === 'recoverInstance' && desired.generation === desired.observed_generation && (state === 'preparing' || state === 'starting')

/** A replica leaves a slot behind, which its app fills again. */
const afterDelete = ({ app, env }: InstanceView): string =>
  app === null || env === null
    ? 'holdfast list'
    : `holdfast list shows the one that replaces it; holdfast undeploy ${app} --env ${env} removes all`

interface More {
  readonly force?: boolean
  readonly purge?: boolean
}

function carryOut(client: Client, route: Wish['route'], id: string, { force, purge }: More) {
  if (force) return client.call('recoverInstance', { params: { id }, body: { force: true } })
  if (purge) return client.call('deleteInstance', { params: { id }, query: { purge: true } })
  return client.call(route, { params: { id } })
}
