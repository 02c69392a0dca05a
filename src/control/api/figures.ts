import { countInstances } from '../store/instances.ts'
import type { ApiDeps } from './deps.ts'
import { withinStoreTime } from './store-time.ts'

/** States that only the control plane writes. Every other state is counted by the agent that has the instance, and by nobody twice. */
const OURS: ReadonlySet<string> = new Set(['pending', 'placed', 'lost'])

/** Figures for /metrics that only the store knows: read anew for each scrape, the last known ones while the store is away. */
export class Figures {
  readonly #deps: ApiDeps
  waiting: readonly { readonly labels: { readonly runtime: string; readonly state: string }; readonly value: number }[] = []

  constructor(deps: ApiDeps) {
    this.#deps = deps
  }

  async refresh(): Promise<void> {
    const counts = await withinStoreTime(this.#deps, countInstances(this.#deps.store.db), false)
    if (!counts.ok) return
    this.waiting = counts.value
      .filter((row) => OURS.has(row.state))
      .map(({ runtime, state, count }) => ({ labels: { runtime, state }, value: count }))
  }
}
