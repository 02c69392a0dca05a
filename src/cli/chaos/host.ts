// What runs the workloads that chaos harms. For people it is Holdfast, through the client; the bench puts plain supervisors beside it.
import { OK, ok, type Result } from '../../base/result.ts'
import type { Client } from '../../client/client.ts'
import type { Failure } from '../../contracts/errors.ts'
import type { InstanceInput, Runtime } from '../../contracts/spec.ts'

export interface Target {
  readonly id: string
  readonly name: string
}
export type Wish = 'stop' | 'start' | 'restart' | 'delete'

export interface Host {
  launch(input: InstanceInput & { readonly name: string }): Promise<Result<Target, Failure>>
  /** The port of its heartbeat; null: not known yet. */
  port(target: Target): Promise<number | null>
  /** First line of `why`; null: nobody here can say. */
  why(target: Target): Promise<string | null>
  /** The state it is said to be in; null: gone, or nobody answers. */
  state(target: Target): Promise<string | null>
  wish(target: Target, wish: Wish): Promise<Result<void, Failure>>
  /** All parts answer: the control plane, its store, each node and its runtime. */
  whole(): Promise<boolean>
  /** Things said about an instance, such as that its limits are not enforced here. */
  notes(target: Target): Promise<readonly string[]>
}

const ROUTE = { stop: 'stopInstance', start: 'startInstance', restart: 'restartInstance', delete: 'deleteInstance' } as const

export function holdfastHost(client: Client, runtime: Runtime = 'process'): Host {
  const view = (target: Target) => client.call('getInstance', { params: { id: target.id } })
  return {
    async launch(input) {
      const created = await client.call('createInstance', { body: input })
      return created.ok ? ok({ id: created.value.id, name: input.name }) : created
    },
    async port(target) {
      const found = await view(target)
      // 0: an engine has not said yet which one it chose.
      return found.ok ? found.value.addresses.find(({ name }) => name === 'beat')?.port || null : null
    },
    async why(target) {
      const answer = await client.call('whyInstance', { params: { id: target.id } })
      return answer.ok ? answer.value.summary : `(no answer: ${answer.error.detail})`
    },
    async state(target) {
      const found = await view(target)
      return found.ok ? found.value.state : null
    },
    async wish(target, wish) {
      const done = await client.call(ROUTE[wish], { params: { id: target.id } })
      return done.ok ? OK : done
    },
    async whole() {
      const nodes = await client.call('listNodes', { query: { limit: 200 } })
      if (!nodes.ok || nodes.value.items.length === 0) return false
      return nodes.value.items.every((node) => node.connected && node.runtimes.some((one) => one.runtime === runtime && one.usable))
    },
    async notes(target) {
      const found = await view(target)
      return found.ok ? found.value.notes : []
    },
  }
}
