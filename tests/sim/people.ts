// The users of a simulation. What they ask for goes through the handlers of the API; an answer that does not come, or says "again", is
// followed by the same request with the same Idempotency-Key, at whatever replica lives. What was acknowledged is remembered.

import type { Result } from '../../src/base/result.ts'
import { ERRORS, type Failure } from '../../src/contracts/errors.ts'
import type { InstanceId, OrgId } from '../../src/contracts/ids.ts'
import { TokenId } from '../../src/contracts/ids.ts'
import { InstanceInput } from '../../src/contracts/spec.ts'
import type { InstanceView } from '../../src/contracts/views.ts'
import type { Caller } from '../../src/control/api/caller.ts'
import type { ApiDeps } from '../../src/control/api/deps.ts'
import { envHandlers } from '../../src/control/api/envs.ts'
import { verbHandlers } from '../../src/control/api/instance-verbs.ts'
import { instanceHandlers } from '../../src/control/api/instances.ts'
import { modeHandlers } from '../../src/control/api/modes.ts'
import { nodeHandlers } from '../../src/control/api/nodes.ts'
import type { Chance } from './chance.ts'
import { type SimTime, START_MS } from './clock.ts'
import type { SimControl } from './control.ts'
import type { Ledger } from './ledger.ts'

export type VerbName = 'start' | 'stop' | 'restart' | 'recover' | 'pause' | 'resume' | 'delete'
const ROUTE_OF = {
  start: 'startInstance',
  stop: 'stopInstance',
  restart: 'restartInstance',
  recover: 'recoverInstance',
  pause: 'pauseInstance',
  resume: 'resumeInstance',
  delete: 'deleteInstance',
} as const
type Mode = 'on' | 'observe' | 'off'

interface Acked {
  readonly id: InstanceId
  readonly generation: number
  readonly what: string
}

type Answer = Result<{ readonly body: unknown }, Failure>
/** A handler of any route; the routes differ in what their context holds, which is made here. */
type AnyHandler = (context: unknown) => Promise<Answer>

const PATIENCE_MS = 6000
const TRIES = 40

const READY = { type: 'exec' as const, kind: 'ready' as const, command: ['check'], interval: '10s' }
const LIVE = { type: 'exec' as const, kind: 'live' as const, command: ['check'], interval: '10s' }
const STARTUP = { type: 'exec' as const, kind: 'start' as const, command: ['check'], interval: '2s', failure_threshold: 5 }

/** What is launched: by number, so that each kind is there in each run. */
const KINDS: readonly InstanceInput[] = [
  { restart: { policy: 'always' } },
  { health: [READY] },
  { health: [LIVE] },
  { health: [LIVE], allow_data_loss: true },
  { restart: { policy: 'on-failure' } },
  { restart: { policy: 'never' } },
  { health: [STARTUP] },
  { command: ['fake', 'stubborn'], stop: { grace: '3s' } },
  { recovery: { mode: 'observe' } },
  { memory: '512Mi' },
  { recovery: { mode: 'off' } },
  { health: [STARTUP, LIVE], allow_data_loss: true },
]

export const inputOf = (number: number): InstanceInput => ({
  runtime: 'fake',
  command: ['serve'],
  memory: '64Mi',
  name: `solo-${number}`,
  stop: { grace: '2s' },
  ...KINDS[number % KINDS.length],
})

export const manifestOf = (app: string, replicas: number, revision: number) => ({
  schema_version: 'v1',
  app: { name: app },
  env: { vars: { REVISION: String(revision) } },
  processes: { web: { runtime: 'fake', command: ['serve'], resources: { cpu: 0.1, memory: '64Mi' }, scaling: { min: replicas } } },
})

export interface PeopleDeps {
  readonly time: SimTime
  readonly ledger: Ledger
  readonly controls: readonly SimControl[]
  /** The first has the envs; the second one, some of what is launched by itself. */
  readonly orgs: readonly [OrgId, OrgId]
  readonly chance: Chance
}

export class People {
  readonly acked: Acked[] = []
  /** Envs as last asked for and acknowledged: replicas, or null = deleted. */
  readonly envs = new Map<string, { replicas: number | null; revision: number; id: string }>()
  asked = 0
  /** Answers get lost on their way; what was asked for is done. */
  unanswered = false
  launched = 0
  readonly #deps: PeopleDeps
  readonly #verbs = new Map<string, number>()
  /** The newest that was acknowledged. */
  readonly #generations = new Map<InstanceId, number>()

  constructor(deps: PeopleDeps) {
    this.#deps = deps
  }

  /** How often it was asked for; a repeated request is one. */
  timesAsked(verb: VerbName, id: InstanceId): number {
    return this.#verbs.get(`${verb} ${id}`) ?? 0
  }

  /** Each of these resolves to whether it was accepted and, of one instance, whether anything was to be done for it. */
  async launch(): Promise<boolean> {
    const input = inputOf(this.launched)
    this.launched += 1
    const answer = await this.#ask('createInstance', input.name ?? '', (life) => instanceHandlers(life).createInstance as AnyHandler, {
      body: InstanceInput.parse(input),
      ...(this.launched % 3 === 0 && { scope: this.#deps.orgs[1] }),
    })
    return this.#note('launch', answer)
  }

  async verb(verb: VerbName, id: InstanceId): Promise<boolean> {
    const route = ROUTE_OF[verb]
    this.#verbs.set(`${verb} ${id}`, this.timesAsked(verb, id) + 1)
    const answer = await this.#ask(route, id, (life) => verbHandlers(life)[route] as AnyHandler, { params: { id }, query: {}, scope: null })
    return this.#note(verb, answer)
  }

  async setMode(id: InstanceId, mode: Mode): Promise<boolean> {
    const given = { params: { id }, body: { mode }, scope: null }
    return this.#note('recovery', await this.#ask('putRecovery', id, (life) => modeHandlers(life).putRecovery as AnyHandler, given))
  }

  async deploy(app: string, replicas: number, revision: number): Promise<boolean> {
    const body = { manifest: manifestOf(app, replicas, revision), env: 'prod' }
    const answer = await this.#ask('deploy', app, (life) => envHandlers(life).deploy as AnyHandler, { body })
    if (answer?.ok) this.envs.set(app, { replicas, revision, id: (answer.value.body as { readonly id: string }).id })
    return answer?.ok === true
  }

  async removeEnv(app: string): Promise<boolean> {
    const env = this.envs.get(app)
    if (!env || env.replicas === null) return false
    const answer = await this.#ask('deleteEnv', env.id, (life) => envHandlers(life).deleteEnv as AnyHandler, { params: { id: env.id } })
    if (answer?.ok) this.envs.set(app, { ...env, replicas: null })
    return answer?.ok === true
  }

  async cordon(nodeId: string, cordoned: boolean): Promise<boolean> {
    const route = cordoned ? 'cordonNode' : 'uncordonNode'
    const answer = await this.#ask(route, nodeId, (life) => nodeHandlers(life)[route] as AnyHandler, { params: { id: nodeId } })
    return answer?.ok === true
  }

  #note(what: string, answer: Answer | null): boolean {
    if (!answer?.ok) return false
    const { id, desired } = answer.value.body as Pick<InstanceView, 'desired'> & { readonly id: InstanceId }
    const isNews = desired.generation > (this.#generations.get(id) ?? 0)
    if (isNews) this.#generations.set(id, desired.generation)
    this.acked.push({ id, generation: desired.generation, what })
    return isNews
  }

  /** Null when nobody could say how it ended. */
  async #ask(name: string, target: string, handlerOf: (deps: Handling) => AnyHandler, given: object): Promise<Answer | null> {
    const { time, ledger, controls, orgs, chance } = this.#deps
    this.asked += 1
    const number = this.asked
    const context = {
      name,
      caller: ANN,
      scope: orgs[0] as OrgId | null,
      requestId: `req-${number}`,
      params: undefined,
      query: undefined,
      body: undefined,
      idempotencyKey: `key-${number}-of-ann`,
      ifVersion: null,
      signal: new AbortController().signal,
      line: `POST ${name} ${target}`,
      ...given,
    }
    for (let tries = 0; tries < TRIES; tries += 1) {
      const replica = chance.pick(controls.filter((one) => one.up))?.life
      if (replica) {
        const late = time.sleep(PATIENCE_MS).then(() => null)
        // The cast: people use few routes, and those need no more of a store than this one has.
        const deps = { ...replica.deps, nodes: replica.nodes, link: replica.link, storeBlocked: async () => null } as unknown as Handling
        const answer = await Promise.race([handlerOf(deps)(context), late])
        const how = answer === null ? 'no answer' : answer.ok ? 'ok' : answer.error.code
        ledger.trace(`ann asks ${number} ${name} ${target}: ${how}`)
        if (answer !== null && !(this.unanswered && chance.happens(0.6)) && (answer.ok || ERRORS[answer.error.code].retry !== 'soon')) {
          if (!answer.ok && answer.error.code === 'name_taken')
            ledger.violate('an idempotent request takes effect once', `${name} ${target}: ${answer.error.detail}`)
          return answer
        }
      }
      await time.sleep(chance.between(500, 4000))
    }
    return null
  }
}

type Handling = ApiDeps & Pick<NonNullable<SimControl['life']>, 'nodes' | 'link'> & { readonly storeBlocked: () => Promise<null> }

const ANN: Caller = {
  token: {
    id: TokenId.parse('tok_00000000000000000001'),
    name: 'ann',
    orgId: null,
    role: 'operator',
    createdAtMs: START_MS,
    lastUsedAtMs: null,
  },
  actor: 'token:ann',
  scope: null,
}
