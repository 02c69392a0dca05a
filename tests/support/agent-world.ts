// The reconcile loop on the fake driver and a manual clock, its journal in memory.
import { afterEach } from 'vitest'
import type { Driver } from '../../src/agent/drivers/driver.ts'
import { createFakeDriver } from '../../src/agent/drivers/fake/fake-driver.ts'
import { type ExecuteDeps, execute } from '../../src/agent/execute/execute.ts'
import { createLedger } from '../../src/agent/execute/ledger.ts'
import { LIMITS } from '../../src/agent/limits.ts'
import { type CollectingDeps, evidenceKeeper, makeCollecting } from '../../src/agent/loop/collecting.ts'
import { Gate } from '../../src/agent/loop/gate.ts'
import { Instances } from '../../src/agent/loop/instances.ts'
import { createScanner } from '../../src/agent/loop/scanner.ts'
import { Survey } from '../../src/agent/loop/survey.ts'
import type { JournalLine } from '../../src/agent/model/record.ts'
import { lookAt, lookAtAll } from '../../src/agent/observe/look.ts'
import type { Logger } from '../../src/base/log.ts'
import { err, OK, type Result } from '../../src/base/result.ts'
import { seededRandom } from '../../src/base/seeded-random.ts'
import { semaphore } from '../../src/base/semaphore.ts'
import type { Desired } from '../../src/contracts/agent-protocol.ts'
import type { Failure } from '../../src/contracts/errors.ts'
import type { Collected } from '../../src/contracts/garbage.ts'
import { DEFAULT_GC, type GcConfig } from '../../src/contracts/gc-config.ts'
import type { InstanceId } from '../../src/contracts/ids.ts'
import type { Meter } from '../../src/contracts/metrics.ts'
import { DEFAULT_RELIABILITY } from '../../src/contracts/reliability.ts'
import { specOf } from './control-records.ts'
import { desiredOf } from './desired.ts'
import { ManualClock } from './manual-clock.ts'
import { memoryResidue } from './memory-residue.ts'
import { MODES_ON, POLICY } from './plan-world.ts'

export const ID = desiredOf().id
const QUIET: Meter = { count() {}, observe() {}, gauge() {} }

export const desired = (change: Partial<Desired> = {}, id = ID): Desired =>
  desiredOf({ id, spec: specOf({ runtime: 'fake', command: ['fake', 'run'] }), ...change })

const PORTS: ExecuteDeps['ports'] = { resolve: async () => ({ ok: true, value: [] }), adopt() {}, release() {} }

const open: Instances[] = []
afterEach(async () => {
  for (const instances of open.splice(0)) await instances.close()
})

interface Lines {
  lines: JournalLine[]
  refuse: Failure | null
}

async function keep(kept: Map<InstanceId, Lines>, id: InstanceId, line: JournalLine): Promise<Result<void, Failure>> {
  const file = kept.get(id) ?? { lines: [], refuse: null }
  kept.set(id, file)
  if (file.refuse) return err(file.refuse)
  file.lines.push(line)
  return OK
}

function recorded() {
  const logs: { level: string; msg: string }[] = []
  const say = (level: string) => (msg: string) => void logs.push({ level, msg })
  return { logs, log: { debug: say('debug'), info: say('info'), warn: say('warn'), error: say('error') } }
}

export function agent(
  world = createFakeDriver({ clock: new ManualClock() }),
  clock = new ManualClock(),
  kept: Map<InstanceId, Lines> = new Map(),
  concurrencyMax = 4,
) {
  const { driver, control } = world
  const { log, logs } = recorded()
  const told: string[] = []
  const settings = { policy: POLICY }
  const looking: { before: () => void } = { before() {} }
  const ledger = createLedger(() => OK)
  const residue = memoryResidue()
  const deps = executingOf(
    clock,
    driver,
    ledger,
    evidenceKeeper({ clock, log, files: residue.evidence, limits: LIMITS }, DEFAULT_GC.evidenceMs),
  )
  const gate = new Gate({ clock, log, concurrencyMax, breaker: DEFAULT_RELIABILITY.breaker, nudge: (id) => instances.nudge(id) })
  const instances: Instances = new Instances({
    clock,
    random: seededRandom(1),
    log,
    meter: QUIET,
    limits: LIMITS,
    look: async (id, _runtime, signal) => {
      const sight = await lookAt(clock, driver, id, 5000, signal)
      looking.before()
      return sight
    },
    execute: (record, action, signal) => execute(deps, record, action, signal),
    journal: (id, line) => keep(kept, id, line),
    removeFiles: async (id) => {
      kept.delete(id)
      return OK
    },
    policyFor: () => settings.policy,
    modesFor: () => MODES_ON,
    gate,
    gated: () => false,
    changed: (entry) => void told.push(entry.sight.kind),
    adoptReservation: (record) => ledger.adopt(record.desired.id, record.desired.spec),
    releaseReservation: (id) => ledger.release(id),
  })
  open.push(instances)
  void driver.watch((event) => void (event.kind === 'instance' && instances.lookAgain(event.id)))
  const survey = new Survey(['fake'], instances.entries)
  const scanner = scannerOf(clock, driver, instances, log, survey)
  return {
    clock,
    driver,
    control,
    instances,
    gate,
    scanner,
    logs,
    told,
    looking,
    settings,
    kept,
    ledger,
    residue,
    /** Garbage collection as it is wired in an agent. */
    collecting: (config: Partial<GcConfig> = {}) =>
      collectingOf({ clock, log, drivers: deps.drivers, residue, instances, scanner, survey, config: { ...DEFAULT_GC, ...config } }),
    entry: () => instances.entries.get(ID),
    kind: () => instances.entries.get(ID)?.record.phase.kind,
  }
}

const executingOf = (
  clock: ManualClock,
  driver: Driver,
  ledger: ExecuteDeps['ledger'],
  beforeForget: NonNullable<ExecuteDeps['beforeForget']>,
): ExecuteDeps => ({
  clock,
  limits: LIMITS,
  drivers: new Map([['fake', driver]]),
  ledger,
  ports: PORTS,
  starts: new Map([['fake', semaphore(4)]]),
  nodeId: 'node-1',
  beforeForget,
})

function collectingOf(parts: Omit<CollectingDeps, 'random' | 'meter' | 'limits' | 'send'>) {
  const sent: Collected[] = []
  const send = (items: readonly Collected[]) => sent.push(...items) > 0
  return { ...makeCollecting({ ...parts, random: seededRandom(2), meter: QUIET, limits: LIMITS, send }, []), sent }
}

const scannerOf = (clock: ManualClock, driver: Driver, instances: Instances, log: Logger, survey: Survey) =>
  createScanner({
    clock,
    log,
    meter: QUIET,
    instances,
    runtimes: ['fake'],
    detectionIntervalMs: 60_000,
    statusIntervalMs: 15_000,
    startPatienceMs: 1500,
    list: () => lookAtAll(clock, driver, LIMITS.listDeadlineMs, new AbortController().signal),
    status: (_runtime) => driver.status(new AbortController().signal),
    heard: (runtime, listed) => survey.heard(runtime, listed),
    statusChanged() {},
  })
