// The control plane of a simulation: one database in memory, and replicas that come and go. Each runs the real loops and the real half
// of the agents' link, on a store of its own that is connected to the database.
import { err } from '../../src/base/result.ts'
import { failure } from '../../src/contracts/errors.ts'
import type { OrgId } from '../../src/contracts/ids.ts'
import type { Callers } from '../../src/control/api/caller.ts'
import type { CoreDeps } from '../../src/control/api/deps.ts'
import { Link } from '../../src/control/api/link.ts'
import { createNodeCache, type NodeCache } from '../../src/control/api/node-cache.ts'
import { LIMITS } from '../../src/control/limits.ts'
import { LOOPS_DEFAULTS } from '../../src/control/loops/deps.ts'
import { type Loops, startLoops } from '../../src/control/loops/start.ts'
import type { Chance } from './chance.ts'
import { LifeClock, MachineTime, type SimTime } from './clock.ts'
import type { Ledger } from './ledger.ts'
import type { MemoryDatabase } from './memory-database.ts'
import { MemoryStore } from './memory-store.ts'
import type { End, Listener } from './network.ts'
import { SimLog, SimMeter } from './telemetry.ts'

/** Admission is by token at the HTTP server, which is not simulated; nobody is turned away for it here. */
const CALLERS: Callers = {
  identify: async () => err(failure('unauthenticated', 'not asked in a simulation')),
  forget() {},
  watch: () => () => {},
}

export interface ControlDeps {
  readonly time: SimTime
  readonly ledger: Ledger
  readonly database: MemoryDatabase
  readonly defaultOrg: OrgId
  readonly chance: (...names: readonly (string | number)[]) => Chance
}

interface Life {
  readonly clock: LifeClock
  readonly store: MemoryStore
  readonly deps: CoreDeps
  readonly nodes: NodeCache
  readonly link: Link
  readonly loops: Loops
  readonly ends: Set<End>
  readonly meter: SimMeter
  /** Lets nobody in any more. */
  closing: boolean
}

/** One replica of the control plane, on a machine of its own. */
export class SimControl {
  readonly name: string
  readonly machine: MachineTime
  life: Life | null = null
  lives = 0
  readonly #deps: ControlDeps

  constructor(name: string, deps: ControlDeps) {
    this.name = name
    this.#deps = deps
    this.machine = new MachineTime(deps.time)
  }

  get up(): boolean {
    return this.life !== null && !this.life.closing
  }

  boot(): void {
    if (this.life) return
    this.lives += 1
    const { ledger, database, chance, defaultOrg } = this.#deps
    const clock = new LifeClock(this.machine, chance(this.name, 'timers', this.lives))
    const random = chance(this.name, 'life', this.lives)
    const log = new SimLog((level, component, msg, fields) => ledger.said(null, level, component, msg, fields))
    const meter = new SimMeter()
    const store = new MemoryStore({ clock, database, log })
    // Two calls under way at once are answered in either order.
    const waits = chance(this.name, 'store', this.lives)
    let usualMs = 1
    Object.defineProperty(store, 'latencyMs', {
      get: () => usualMs * (0.3 + 1.4 * waits.fraction()),
      set: (ms: number) => {
        usualMs = ms
      },
    })
    const late = chance(this.name, 'notifications', this.lives)
    store.deliveries = () => [1 + late.fraction()]
    const deps: CoreDeps = { store, clock, random, log, limits: LIMITS, defaultOrg }
    const loops = startLoops({ store, clock, random, log, meter, config: LOOPS_DEFAULTS })
    const link = new Link(deps, CALLERS)
    this.life = { clock, store, deps, nodes: createNodeCache(deps), link, loops, ends: new Set(), meter, closing: false }
    ledger.trace(`${this.name} begins`)
  }

  /** For the network: who takes connections. */
  listener(): Listener | undefined {
    const { life } = this
    if (!life || life.closing) return undefined
    return {
      life: life.clock,
      chance: this.#deps.chance(this.name, 'network', this.lives, life.ends.size),
      accept: (end) => {
        life.ends.add(end)
        life.link.serve(end, undefined)
      },
    }
  }

  /** `kill -9`; its connections to agents and database are closed by the kernel. */
  kill(backMs: number): void {
    const { life } = this
    if (life) {
      this.#deps.ledger.trace(`${this.name} killed`)
      life.clock.kill()
      void life.store.close()
      for (const end of life.ends) end.abandon()
      this.life = null
    }
    this.#deps.time.after(backMs, () => this.boot())
  }

  /** As an orderly end does it: loops, then the link, then the store. */
  async restart(backMs: number): Promise<void> {
    const { life } = this
    if (!life || life.closing) return
    life.closing = true
    this.#deps.ledger.trace(`${this.name} closes`)
    life.nodes.close()
    await Promise.all([life.loops.close(), life.link.close()])
    await life.store.close()
    if (this.life !== life) return
    life.clock.kill()
    for (const end of life.ends) end.abandon()
    this.life = null
    this.#deps.time.after(backMs, () => this.boot())
  }
}
