// What people do in a simulation, as a closed table like that of the faults.
import type { InstanceId } from '../../src/contracts/ids.ts'
import type { InstanceRecord } from '../../src/control/model/instance.ts'
import type { Given } from './fault.ts'
import type { VerbName } from './people.ts'

interface Act {
  readonly weight: number
  /** The request was accepted and had something to do: `hit`. */
  readonly carryOut: (given: Given) => void
}

const known = ({ world }: Given): readonly InstanceRecord[] =>
  world.database.rows.instances.all().flatMap(({ record }) => (record.deletedAtMs === null ? [record] : []))

const anyOne = (given: Given, fits: (one: InstanceRecord) => boolean = () => true): InstanceId | undefined =>
  given.chance.pick(known(given).filter(fits))?.id

/** Its answer comes later, or never. */
const asked = async ({ hit }: Given, accepted: Promise<boolean>): Promise<void> => {
  if (await accepted) hit()
}

const verb =
  (name: VerbName, fits?: (one: InstanceRecord) => boolean): Act['carryOut'] =>
  (given) => {
    const id = anyOne(given, fits)
    if (id !== undefined) void asked(given, given.world.people.verb(name, id))
  }

/** How much is done by itself for one that is in trouble, or for any. */
const setMode: Act['carryOut'] = (given) => {
  const { chance, world } = given
  const troubled = known(given).filter(({ phase }) =>
    ['failed', 'recovering', 'crash_looping', 'preparing', 'starting'].includes(phase.kind),
  )
  const one = chance.pick(chance.happens(0.7) && troubled.length > 0 ? troubled : known(given))
  if (!one) return
  void asked(given, world.people.setMode(one.id, chance.pick(['on', 'off', 'observe'] as const) ?? 'on'))
  // Off for good it would be of no use to all that comes later.
  world.time.after(chance.between(1000, 240_000), () => void world.people.setMode(one.id, 'on'))
}

/** Two or three wishes for one instance in one moment. */
const race = (given: Given) => {
  const id = anyOne(given)
  const verbs: readonly VerbName[] = ['start', 'stop', 'restart', 'recover', 'pause', 'resume', 'delete']
  const weights = [3, 4, 3, 2, 1, 1, 1]
  const bag = verbs.flatMap((name, index) => Array.from({ length: weights[index] ?? 1 }, () => name))
  if (id === undefined) return
  let anything = false
  const once = async (accepted: Promise<boolean>) => {
    if (!(await accepted) || anything) return
    anything = true
    given.hit()
  }
  for (let left = given.chance.whole(2, 3); left > 0; left -= 1) {
    const name = given.chance.pick(bag) ?? 'stop'
    given.world.time.after(given.chance.between(0, 300), () => void once(given.world.people.verb(name, id)))
  }
}

const APPS = ['shop', 'blog']

const deploy = (given: Given) => {
  const app = given.chance.pick(APPS) ?? 'shop'
  const now = given.world.people.envs.get(app)
  void asked(given, given.world.people.deploy(app, now?.replicas ?? 3, (now?.revision ?? 0) + 1))
}

export const ACTS: Readonly<Record<string, Act>> = {
  launch: { weight: 3, carryOut: (given) => void asked(given, given.world.people.launch()) },
  stop: { weight: 6, carryOut: verb('stop', ({ want }) => want !== 'stopped') },
  start: {
    weight: 7,
    carryOut: verb('start', ({ want, phase }) => want !== 'running' || phase.kind === 'quarantined' || phase.kind === 'failed'),
  },
  restart: { weight: 3, carryOut: verb('restart') },
  recover: { weight: 3, carryOut: verb('recover', ({ want }) => want === 'running') },
  recover_what_is_broken: {
    weight: 3,
    carryOut: verb('recover', ({ phase }) => ['quarantined', 'crash_looping', 'recovering', 'failed', 'degraded'].includes(phase.kind)),
  },
  pause: { weight: 3, carryOut: verb('pause', ({ want }) => want === 'running') },
  resume: { weight: 4, carryOut: verb('resume', ({ want }) => want === 'paused') },
  delete: { weight: 3, carryOut: verb('delete', ({ membership }) => membership === null) },
  delete_what_is_moving: {
    weight: 2,
    carryOut: verb(
      'delete',
      ({ phase, membership }) => membership === null && ['preparing', 'starting', 'recovering', 'stopping'].includes(phase.kind),
    ),
  },
  race: { weight: 5, carryOut: race },
  deploy: { weight: 2, carryOut: deploy },
  scale: {
    weight: 2,
    carryOut: (given) => {
      const app = given.chance.pick(APPS) ?? 'shop'
      void asked(given, given.world.people.deploy(app, given.chance.whole(0, 5), given.world.people.envs.get(app)?.revision ?? 1))
    },
  },
  remove_env: {
    weight: 1,
    carryOut: (given) => void asked(given, given.world.people.removeEnv(given.chance.pick(APPS) ?? 'shop')),
  },
  set_mode: { weight: 4, carryOut: setMode },
  cordon: {
    weight: 1,
    carryOut: (given) => {
      const node = given.chance.pick(given.world.nodes)
      if (!node) return
      void asked(given, given.world.people.cordon(node.nodeId, true))
      given.world.time.after(given.chance.between(10_000, 300_000), () => void given.world.people.cordon(node.nodeId, false))
    },
  },
}
