// The control plane's loops on a real database, with agents played by the test: what an agent would report is written directly.
import { onTestFinished } from 'vitest'
import { systemRandom } from '../../src/base/system.ts'
import type { Observed } from '../../src/contracts/agent-protocol.ts'
import type { InstanceId, NodeId } from '../../src/contracts/ids.ts'
import type { Meter } from '../../src/contracts/metrics.ts'
import { LOOPS_DEFAULTS, type LoopsConfig, type LoopsDeps } from '../../src/control/loops/deps.ts'
import { type Loop, Runner } from '../../src/control/loops/runner.ts'
import { type Loops, startLoops } from '../../src/control/loops/start.ts'
import type { InstanceRecord } from '../../src/control/model/instance.ts'
import { listAudit, listEvents } from '../../src/control/store/events.ts'
import { getInstance } from '../../src/control/store/instances.ts'
import { recordObserved } from '../../src/control/store/observed.ts'
import type { Store } from '../../src/control/store/store.ts'
import { RecordingLog } from './recording-log.ts'
import { ShiftClock } from './shift-clock.ts'
import { observedOf, type seedNode, transitionOf } from './store-seeds.ts'
import { must, type StoreBench } from './stores.ts'
import { waitFor } from './wait.ts'

const silentMeter: Meter = { count() {}, observe() {}, gauge() {} }

export interface LoopBench {
  readonly store: Store
  readonly clock: ShiftClock
  readonly log: RecordingLog
  /** Starts all loops; closed when the test ends. */
  start(config?: Partial<LoopsConfig>): Loops
  /** The same with chosen loops only: where time is shifted, the one that watches nodes would find them all silent. */
  startOnly(loops: readonly ((deps: LoopsDeps) => Loop)[], config?: Partial<LoopsConfig>): Loops
  get(id: InstanceId): Promise<InstanceRecord>
  /** Waits until the instance is as said. */
  until(id: InstanceId, what: string, condition: (instance: InstanceRecord) => boolean): Promise<InstanceRecord>
  /** What the agent of the node says of it now, in answer to the newest wish unless said otherwise. */
  observe(node: Awaited<ReturnType<typeof seedNode>>, id: InstanceId, given: Partial<Observed>): Promise<void>
  /** Names of all events, of one instance or of all. */
  events(id?: InstanceId): Promise<readonly string[]>
  audits(): Promise<
    readonly {
      readonly actor: string
      readonly action: string
      readonly target: string
      readonly data: Readonly<Record<string, unknown>>
    }[]
  >
}

export const WAIT_MS = 20_000

export async function loopBench(bench: StoreBench): Promise<LoopBench> {
  const clock = new ShiftClock()
  const log = new RecordingLog()
  const store = await bench.store({ clock })
  const get = async (id: InstanceId) => {
    const found = must(await getInstance(store.db, id))
    if (!found) throw new Error(`no ${id}`)
    return found
  }
  const depsOf = (config: Partial<LoopsConfig> = {}): LoopsDeps => ({
    store,
    clock,
    random: systemRandom,
    log,
    meter: silentMeter,
    config: { ...LOOPS_DEFAULTS, ...config },
  })
  const closing = (loops: Loops) => {
    onTestFinished(() => loops.close())
    return loops
  }
  return {
    store,
    clock,
    log,
    start: (config) => closing(startLoops(depsOf(config))),
    startOnly: (loops, config) => {
      const deps = depsOf(config)
      const made = loops.map((make) => make(deps))
      return closing(new Runner(deps, made))
    },
    get,
    until: async (id, what, condition) => {
      await waitFor(async () => condition(await get(id)), { what, deadlineMs: WAIT_MS })
      return get(id)
    },
    observe: async (node, id, given) => {
      const now = await get(id)
      const item = observedOf(id, { generation: now.generation, healSeq: now.healSeq, incarnation: Math.max(1, now.incarnation), ...given })
      const { phase, incarnation } = item
      // As an agent does: each change of state has a number.
      const steps =
        phase.kind === now.phase.kind
          ? []
          : [transitionOf(now.lastTransitionSeq + 1, now.phase.kind, phase.kind, { to: phase, incarnation, atMs: phase.sinceMs })]
      must(
        await store.write('system:test', (tx) =>
          recordObserved(tx, node.nodeId as NodeId, node.epoch, [item.transitions.length > 0 ? item : { ...item, transitions: steps }]),
        ),
      )
    },
    events: async (id) => {
      const all = must(await listEvents(store.db, { scope: null, after: 0, limit: 5000, ...(id && { instanceId: id }) }))
      return all.map((event) => event.type)
    },
    audits: async () => must(await listAudit(store.db, { scope: null, limit: 1000 })).items,
  }
}
